"""FastRTC: a handler of pictures behind a `Stream`, as its guide to video has it for handlers that are slower than the
camera (`skip_frames`)."""

from __future__ import annotations

import time
from typing import Any

from fastapi import FastAPI
from fastrtc import Stream, VideoStreamHandler
from fastrtc.stream import Body


def application(job: Any) -> tuple[FastAPI, str]:
    """Return the server and its path."""

    def handler(picture: Any) -> Any:
        if job.stage_s:
            time.sleep(job.stage_s)
        return picture

    stream = Stream(
        VideoStreamHandler(handler, fps=round(job.fps), skip_frames=True),
        modality="video",
        mode="send-receive",
        # The offer has a voice, too.
        allow_extra_tracks=True,
        server_rtc_configuration={"iceServers": []},
        verbose=False,
    )
    app = FastAPI()

    @app.post("/webrtc/offer")
    async def offer(body: Body) -> Any:
        answer = await stream.offer(body)
        # Until there is an input the handler is not called; its first place is the picture's.
        stream.set_input(body.webrtc_id, None)
        return answer

    return app, "/webrtc/offer"
