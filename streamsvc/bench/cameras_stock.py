"""Stock aiortc as a child of `bench cameras`: takes every camera of one offer and throws the pictures away.

Run by path. One line of JSON in ({sdp, type}), one out; it ends with its stdin. Nothing of our edge is in the process.
"""

from __future__ import annotations

import asyncio
import json
import sys

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaBlackhole


async def _serve() -> None:
    # Without an explicit empty list a public STUN server is contacted.
    connection, sink = RTCPeerConnection(RTCConfiguration(iceServers=[])), MediaBlackhole()
    connection.on("track", sink.addTrack)
    offer = json.loads(await asyncio.to_thread(sys.stdin.readline))
    await connection.setRemoteDescription(RTCSessionDescription(offer["sdp"], offer["type"]))
    await connection.setLocalDescription(await connection.createAnswer())
    await sink.start()
    answer = connection.localDescription
    print(json.dumps({"sdp": answer.sdp, "type": answer.type}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await sink.stop()
    await connection.close()


if __name__ == "__main__":
    asyncio.run(_serve())
