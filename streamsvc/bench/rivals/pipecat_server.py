"""Pipecat: a pipeline from its WebRTC transport's input through a processor to its output, as its examples that mirror
or transform video have it (`video_out_is_live`)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import BackgroundTasks, FastAPI
from loguru import logger
from pipecat.frames.frames import Frame, InputImageRawFrame, OutputImageRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.base_transport import TransportParams, VideoInSourceParams
from pipecat.transports.smallwebrtc.connection import SmallWebRTCConnection
from pipecat.transports.smallwebrtc.request_handler import SmallWebRTCRequest, SmallWebRTCRequestHandler
from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport
from pipecat.workers.runner import WorkerRunner


class Stage(FrameProcessor):
    """Sends every picture back after `stage_s` seconds of a device's time."""

    def __init__(self, stage_s: float) -> None:
        super().__init__()
        self._stage_s = stage_s

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Take one frame of the pipeline."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, InputImageRawFrame):
            await self.push_frame(frame, direction)
            return
        if self._stage_s:
            await asyncio.to_thread(time.sleep, self._stage_s)
        await self.push_frame(OutputImageRawFrame(image=frame.image, size=frame.size, format=frame.format))


async def _run(connection: SmallWebRTCConnection, job: Any) -> None:
    transport = SmallWebRTCTransport(
        connection,
        TransportParams(
            video_in_enabled=True,
            # Not more than the device can take: nothing later in the pipeline passes pictures over.
            video_in_sources={"camera": VideoInSourceParams(framerate=int(job.rate))},
            video_out_enabled=True,
            video_out_is_live=True,
            video_out_width=job.width,
            video_out_height=job.height,
            video_out_framerate=round(job.fps),
        ),
    )
    worker = PipelineWorker(Pipeline([transport.input(), Stage(job.stage_s), transport.output()]))
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(_: Any, __: Any) -> None:
        await worker.cancel()

    await runner.run()


def application(job: Any) -> tuple[FastAPI, str]:
    """Return the server and its path."""
    logger.remove()
    handler = SmallWebRTCRequestHandler(ice_servers=[])
    app = FastAPI()

    @app.post("/api/offer")
    async def offer(asked: SmallWebRTCRequest, background: BackgroundTasks) -> Any:
        async def begin(connection: SmallWebRTCConnection) -> None:
            background.add_task(_run, connection, job)

        return await handler.handle_web_request(asked, begin)

    return app, "/api/offer"
