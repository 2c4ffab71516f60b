"""A call with any server that takes an SDP offer by HTTP POST and sends video back: the probe's way to measure others.

The request is JSON with `sdp` and `type`, as aiortc's examples and the frameworks built on it take it (and a
`webrtc_id`, which some want); the answer is JSON with `sdp`. All candidates are in the offer. As from most pages the
voice comes first and a data channel is opened: there are servers that take the first section for a voice whatever it
is, and some that begin only when the channel is there.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from urllib.parse import urlsplit

from streamsvc.edge import AudioIn, AudioOut, ChannelSpec, Connection, Received, VideoIn, VideoOut
from streamsvc.errors import StreamsvcError
from streamsvc.frames import Pixels, Samples
from streamsvc.peer import Way, Witness, video_bytes_of
from streamsvc.peer.sources import Voice, open_cameras

ANSWER_S = 30.0
MAX_ANSWER_BYTES = 1 << 20
CHANNEL = ChannelSpec("text")


class PostOfferError(StreamsvcError):
    """The other server did not answer, or not with what was asked."""


def takes_post(url: str) -> bool:
    """Is `url` an address to post an offer to, and not one of our services or its pages?"""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    return parts.scheme in ("http", "https") and bool(path) and not path.startswith("/room/")


def post(url: str, sdp: str) -> str:
    """Post an offer and return the answer's SDP; blocks. Raises PostOfferError."""
    body = json.dumps({"sdp": sdp, "type": "offer", "webrtc_id": secrets.token_hex(8)}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            document = json.loads(answer.read(MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as e:
        raise PostOfferError(f"{url} refused the offer: {e.code} {e.reason}") from None
    except (OSError, ValueError) as e:
        reason = getattr(e, "reason", None) or e
        raise PostOfferError(f"{url} did not answer the offer: {reason}") from None
    sdp_of = document.get("sdp") if isinstance(document, dict) else None
    if not isinstance(sdp_of, str):
        raise PostOfferError(f"{url} answered without an SDP: {str(document)[:200]}")
    return sdp_of


async def call_by_post(
    url: str,
    size: tuple[int, int],
    fps: float,
    voice: Voice | None,
    scene_time: Callable[[int], float | None],
    witness: Witness,
    seconds: float,
    way: Way | None = None,
) -> int:
    """Send one camera that sees the clock card, and a voice, for `seconds`; `witness` takes down what comes back.
    Return the bytes of video that came.

    Raises PostOfferError, EdgeError, ShaperError.
    """
    loop = asyncio.get_running_loop()
    (camera,) = open_cameras({"cam0": "synthetic:card"}, None, size, fps, scene_time)[0]
    lost = asyncio.Event()
    connection = Connection(on_state=lambda state: lost.set() if state in ("failed", "closed") else None)
    video = VideoOut()

    def on_video(mid: str, incoming: VideoIn) -> None:
        incoming.on_frame = seen

    def seen(received: Received) -> None:
        witness.picture(received, time.monotonic_ns())

    def on_audio(incoming: AudioIn) -> None:
        incoming.on_voice = heard

    def heard(samples: Samples, sender_ns: int | None, arrived_ns: int) -> None:
        witness.sound(samples, arrived_ns)

    def taken(pixels: Pixels, capture_ns: int) -> None:
        witness.captured(capture_ns)
        video.put(pixels, capture_ns)

    def on_picture(name: str, pixels: Pixels, capture_ns: int) -> None:
        loop.call_soon_threadsafe(taken, pixels, capture_ns)

    connection.on_video, connection.on_audio = on_video, on_audio
    stop = threading.Event()
    thread: threading.Thread | None = None
    try:
        audio = None if voice is None else AudioOut(voice.read)
        offer = await connection.offer([video], audio, audio_first=True, channels=[CHANNEL])
        answer = await asyncio.to_thread(post, url, offer if way is None else await way.offer(offer))
        await connection.accept(answer if way is None else await way.answer(answer))
        thread = threading.Thread(target=camera.run, args=(on_picture, stop), name="camera")
        thread.start()
        try:
            await asyncio.wait_for(lost.wait(), seconds)
        except TimeoutError:
            return video_bytes_of(connection.statistics())
        raise PostOfferError(f"{url}: the connection was lost, or never came up")
    finally:
        stop.set()
        if thread is not None:
            await asyncio.to_thread(thread.join, 5.0)
        await connection.close()
