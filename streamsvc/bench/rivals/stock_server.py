"""A server in the manner of aiortc's examples: a track whose `recv` takes a picture of the camera's, lets the device
work, and returns it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaRelay
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


class Staged(MediaStreamTrack):
    """The pictures of `source`, each after `stage_s` seconds of a device's time."""

    kind = "video"

    def __init__(self, source: MediaStreamTrack, stage_s: float) -> None:
        super().__init__()
        self._source, self._stage_s = source, stage_s

    async def recv(self) -> Any:
        """Return the next picture."""
        frame = await self._source.recv()
        if self._stage_s:
            await asyncio.to_thread(time.sleep, self._stage_s)
        return frame


def application(job: Any, buffered: bool = True) -> tuple[Starlette, str]:
    """Return the server and its path. Pictures that the device had no time for wait, as in the examples; not `buffered`
    they are passed over for the newest."""
    connections: set[RTCPeerConnection] = set()
    relay = MediaRelay()

    async def offer(request: Request) -> JSONResponse:
        asked = await request.json()
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        connections.add(connection)

        @connection.on("track")
        def on_track(track: MediaStreamTrack) -> None:
            if track.kind == "video":
                connection.addTrack(Staged(relay.subscribe(track, buffered=buffered), job.stage_s))

        @connection.on("connectionstatechange")
        async def on_state() -> None:
            if connection.connectionState == "failed":
                await connection.close()
                connections.discard(connection)

        await connection.setRemoteDescription(RTCSessionDescription(asked["sdp"], asked["type"]))
        await connection.setLocalDescription(await connection.createAnswer())
        return JSONResponse({"sdp": connection.localDescription.sdp, "type": connection.localDescription.type})

    return Starlette(routes=[Route("/offer", offer, methods=["POST"])]), "/offer"
