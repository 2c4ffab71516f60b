"""A call whose hardware encoder fails in the middle: the picture goes on, from x264."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from edge_pair import bar_means, bars, call, filming, until

from streamsvc.edge import Hardware, Received, driver, to_rgb
from streamsvc.edge.hardware import Candidate, Found, open_encoder


class Failing:
    """x264 that raises from the 20th picture on."""

    def __init__(self, codec: Any) -> None:
        self._codec, self._left = codec, 20
        self.bit_rate = codec.bit_rate

    def encode(self, frame: Any) -> list[Any]:
        self._left -= 1
        if self._left < 0:
            raise RuntimeError("the device is gone")
        packets: list[Any] = self._codec.encode(frame)
        return packets


async def test_a_viewer_of_an_encoder_that_fails_sees_on(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"preset": "ultrafast", "tune": "zerolatency"}
    x264 = Candidate(name="libx264", title="a stand-in", formats=("nv12",), options=options)
    failing = msgspec.structs.replace(x264, name="h264_failing")
    monkeypatch.setattr(driver, "open_encoder", lambda _, *rest: Failing(open_encoder(Found(x264, "nv12"), *rest)))
    hardware = Hardware()
    hardware.use(Found(failing, "nv12"))
    async with call(codec="H264") as pair:
        (video,) = pair.peer_videos
        video.hardware = hardware
        seen: list[Received] = []
        (incoming,) = pair.server.videos.values()
        incoming.on_frame = seen.append
        picture = bars(320, 240)
        async with filming(pair.peer_videos, lambda _: picture):
            await until(lambda: len(seen) >= 5)
            before = next(s for s in pair.peer.statistics().sent if s.kind == "video")
            assert before.encoder == "h264_failing" or before.frames >= 20
            await until(lambda: len(seen) >= 40)
        after = next(s for s in pair.peer.statistics().sent if s.kind == "video")
        assert (after.encoder, after.fallbacks, after.errors) == ("libx264", 1, 0) and after.keyframes >= 2
        assert np.abs(bar_means(await to_rgb(seen[-1])) - bar_means(picture)).max() <= 7
        assert pair.server.statistics().received[0].decode_errors == 0
