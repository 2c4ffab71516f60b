"""A sender or a receiver of `bench edge` in a process of its own: what ours and stock aiortc have in common.

The parent writes lines of JSON to standard input and reads them from standard output:

    sender                      parent                      receiver
               <- Job                        Job ->
     Offer ->                                Offer ->
               <- Answer                             <- Answer
     Sent ->   (the film is over)            Enough ->
                                                     <- Seen

A page is a receiver that offers: then Offer and Answer go the other way, as with a service.
Standard input ends when the case is over or the parent is gone, and then the process ends. Nothing here imports aiortc:
which one is measured is the `Sender` and the `Receiver` that `run` is given.
"""

from __future__ import annotations

import asyncio
import math
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import av
import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from streamsvc.bench.edge_camera import SECOND_NS, Drawing, Filming
from streamsvc.errors import StreamsvcError
from streamsvc.ledger.figures import percentile

CONNECT_S = 20.0
TAIL_S = 1.0
"""How long the film goes on after the last picture that counts, so that this one has time to arrive."""

KEPT = 12
"""Whole pictures that a receiver keeps, so that their quality can be told."""

MAX_LINE = 1 << 24
SEEN_FILE = "seen.npz"
HEARD_FILE = "heard.npy"
Luma = NDArray[np.uint8]
Sound = NDArray[np.float32]
Say = Callable[[int], Sound]


class Job(msgspec.Struct, frozen=True):
    """What to do: film for `seconds` after `warm_up_s`, or watch; the receiver leaves what it saw in `folder`. `voice`
    is a file of (n,) float32 mono at 48 kHz that is said meanwhile, from when the pictures count; a consumer works for
    `consumer_ms` on every picture before it takes the next one. The sender gets a picture `processing_ms` after it was
    captured, as it would from who works on it. `box` is where in the picture the card is, and of every `step` pixels
    one is enough (see `Drawing`, for `grain` too); `page` says that the receiver is a page. `max_bitrate` (bits a
    second) is the most that ours may send; stock has a cap of its own."""

    role: Literal["send", "receive"]
    width: int
    height: int
    codec: Literal["VP8", "H264"]
    fps: float
    warm_up_s: float
    seconds: float
    folder: str
    box: tuple[int, int, int, int]
    step: int
    page: bool = False
    voice: str | None = None
    consumer_ms: float = 0.0
    processing_ms: float = 0.0
    grain: float = 0.0
    max_bitrate: int | None = None


class Offer(msgspec.Struct, frozen=True):
    """The SDP of who offers."""

    sdp: str


class Answer(msgspec.Struct, frozen=True):
    """The SDP of the other."""

    sdp: str


class Rate(msgspec.Struct, frozen=True):
    """Payload bytes sent so far; bits per second that the encoder aims at (None: not told), and the most that it
    may; FFmpeg's name of the encoder (None: not told)."""

    payload_bytes: int
    target_bps: int | None
    cap_bps: int
    encoder: str | None = None


class Sent(msgspec.Struct, frozen=True):
    """What was filmed, ns on the monotonic clock: all instants, and from when to when (half-open) they count. The rate
    at the start and after every second. Percentiles of how late pictures were handed over, in ms."""

    captures: list[int]
    start_ns: int
    end_ns: int
    rates: list[Rate]
    late_p50_ms: float | None
    late_p99_ms: float | None


class Enough(msgspec.Struct, frozen=True):
    """The film is over."""


class Seen(msgspec.Struct, frozen=True):
    """`SEEN_FILE` is written: `shown_ns` (n,), `believed_ns` (n,) when the receiver believes it was captured (-1: it
    doesn't say), `cards` (n, h, w), and of a few whole pictures `kept_at` (m,) their indices and `kept` (m, height,
    width) their luma."""

    pictures: int


class Sender(Protocol):
    """Sends the newest picture; what isn't sent when the next one comes is replaced by it."""

    async def offer(self, codec: str, voice: Say | None, max_bitrate: int | None) -> str:
        """Return an SDP offer with candidates; `voice(n)` returns the next (n,) float32 samples, mono at 48 kHz."""

    async def answer(self, offer: str, codec: str, voice: Say | None, max_bitrate: int | None) -> str:
        """Return an SDP answer with candidates to who only receives."""

    async def connect(self, answer: str | None) -> None:
        """Take the answer to an offer, and return when media can flow."""

    def put(self, frame: av.VideoFrame, capture_ns: int) -> None:
        """Take a picture."""

    async def rate(self) -> Rate:
        """Return what was sent so far."""

    async def close(self) -> None:
        """End."""


@runtime_checkable
class Receiver(Protocol):
    """Has `Recorder.consume` called, on the loop, with every decoded picture that a consumer gets, as soon as it can
    have it: it is done with one when the call returns. `Recorder.hear` gets the sound."""

    async def answer(self, offer: str, recorder: Recorder) -> str:
        """Return an SDP answer with candidates."""

    async def close(self) -> None:
        """End."""


class Page(Protocol):
    """A receiver that offers, and tells `Recorder.keep` what it has shown."""

    async def offer(self, recorder: Recorder) -> str:
        """Return an SDP offer with candidates."""

    async def connect(self, answer: str) -> None:
        """Take the answer."""

    async def close(self) -> None:
        """End."""


MakeSender = Callable[[], Sender]
MakeReceiver = Callable[[], Receiver | Page]


class Speaker:
    """Says a file once, from when it `begins`, and then nothing."""

    def __init__(self, samples: Sound) -> None:
        self._samples = samples
        self._at: int | None = None

    def begin(self) -> None:
        """Begin now."""
        self._at = 0

    def read(self, count: int) -> Sound:
        """Return the next (count,) samples."""
        out = np.zeros(count, np.float32)
        if self._at is not None:
            part = self._samples[self._at : self._at + count]
            out[: len(part)] = part
            self._at += count
        return out


class Recorder:
    """Keeps when each picture was shown and what a reader needs to find out which one it was.

    Reading the card would hold up the next picture, so only its pixels are kept: some KB a picture.
    """

    def __init__(self, job: Job) -> None:
        self.size, self.box, self.step = (job.width, job.height), job.box, job.step
        self._every = max(1, round(job.seconds * job.fps / KEPT))
        x0, y0, x1, y1 = job.box
        self._card = (slice(y0, y1, job.step), slice(x0, x1, job.step))
        self._shown: list[int] = []
        self._believed: list[int] = []
        self._cards: list[Luma] = []
        self._kept: dict[int, Luma] = {}
        self._sound: list[Sound] = []
        self._consumer_s = job.consumer_ms / 1000

    async def consume(self, frame: av.VideoFrame) -> None:
        """Note that `frame` is there, and work on it."""
        self.take(frame)
        if self._consumer_s:
            await asyncio.sleep(self._consumer_s)

    def hear(self, samples: Sound) -> None:
        """Keep what was heard: (n,) float32 mono at 48 kHz."""
        self._sound.append(samples)

    def take(self, frame: av.VideoFrame) -> None:
        """Note that `frame` is there now; one of another size is as good as none."""
        shown = time.monotonic_ns()
        if (frame.width, frame.height) != self.size:
            return
        plane: Any = frame.planes[0]
        luma = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
        if len(self._shown) % self._every == 0:
            self._kept[len(self._shown)] = luma.copy()
        self.keep(shown, luma[self._card].copy())

    def keep(self, shown_ns: int, card: Luma, believed_ns: int | None = None) -> None:
        """Note that a picture was there at an instant; `card` is every `step`th pixel of its `box`, `believed_ns` when
        the receiver believes it was captured."""
        self._shown.append(shown_ns)
        self._believed.append(-1 if believed_ns is None else believed_ns)
        self._cards.append(card)

    def save(self, path: Path) -> int:
        """Write everything to `path` (see `Seen`), and the sound beside it; return how many pictures there were."""
        np.save(path.with_name(HEARD_FILE), np.concatenate(self._sound) if self._sound else np.zeros(0, np.float32))
        np.savez(
            path,
            shown_ns=np.array(self._shown, np.int64),
            believed_ns=np.array(self._believed, np.int64),
            cards=np.stack(self._cards) if self._cards else np.zeros((0, 1, 1), np.uint8),
            kept_at=np.array(list(self._kept), np.int64),
            kept=np.stack(list(self._kept.values())) if self._kept else np.zeros((0, 1, 1), np.uint8),
        )
        return len(self._shown)


M = TypeVar("M", bound=msgspec.Struct)
Lines = asyncio.Queue[bytes]


def _say(message: msgspec.Struct) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


async def _hear(lines: Lines, kind: type[M]) -> M:
    return msgspec.json.decode(await lines.get(), type=kind)


async def _send(job: Job, sender: Sender, lines: Lines) -> None:
    loop = asyncio.get_running_loop()
    drawing = await asyncio.to_thread(Drawing, (job.width, job.height), job.grain)
    voice = None if job.voice is None else Speaker(np.load(job.voice))
    read = None if voice is None else voice.read
    answer: str | None = None
    if job.page:
        _say(Answer(await sender.answer((await _hear(lines, Offer)).sdp, job.codec, read, job.max_bitrate)))
    else:
        _say(Offer(await sender.offer(job.codec, read, job.max_bitrate)))
        answer = (await _hear(lines, Answer)).sdp
    async with asyncio.timeout(CONNECT_S):
        await sender.connect(answer)

    def put(frame: av.VideoFrame, due_ns: int) -> None:
        loop.call_soon_threadsafe(loop.call_later, job.processing_ms / 1000, sender.put, frame, due_ns)

    filming = Filming(drawing, job.fps, put)
    try:
        start = filming.start_ns + round(job.warm_up_s * SECOND_NS)
        end = start + round(job.seconds * SECOND_NS)
        rates = []
        for second in range(math.ceil(job.seconds) + 1):
            await _until(min(end, start + second * SECOND_NS))
            if voice is not None and second == 0:
                voice.begin()
            rates.append(await sender.rate())
        await _until(end + round(TAIL_S * SECOND_NS))
    finally:
        filming.stop()
    late = [ns / 1e6 for ns in filming.late_ns]
    _say(Sent(filming.captures, start, end, rates, percentile(late, 50), percentile(late, 99)))


async def _until(instant_ns: int) -> None:
    await asyncio.sleep(max(0.0, (instant_ns - time.monotonic_ns()) / SECOND_NS))


async def _receive(job: Job, receiver: Receiver | Page, lines: Lines) -> None:
    recorder = Recorder(job)
    if isinstance(receiver, Receiver):
        _say(Answer(await receiver.answer((await _hear(lines, Offer)).sdp, recorder)))
    else:
        _say(Offer(await receiver.offer(recorder)))
        await receiver.connect((await _hear(lines, Answer)).sdp)
    await _hear(lines, Enough)
    _say(Seen(recorder.save(Path(job.folder) / SEEN_FILE)))


async def _work(make_sender: MakeSender | None, make_receiver: MakeReceiver, lines: Lines) -> None:
    job = await _hear(lines, Job)
    end: Sender | Receiver | Page
    if job.role == "send" and make_sender is not None:
        end = sender = make_sender()
        task = _send(job, sender, lines)
    else:
        end = receiver = make_receiver()
        task = _receive(job, receiver, lines)
    try:
        await task
        # Only the parent knows when the other side needs us no more.
        await asyncio.Event().wait()
    finally:
        await end.close()


async def _listen(lines: Lines) -> None:
    """Put what the parent says in `lines`; returns at its end."""
    reader = asyncio.StreamReader(limit=MAX_LINE)
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await reader.readline():
        lines.put_nowait(line)


async def _until_left(make_sender: MakeSender | None, make_receiver: MakeReceiver) -> None:
    lines: Lines = asyncio.Queue()
    work = asyncio.ensure_future(_work(make_sender, make_receiver, lines))
    listening = asyncio.ensure_future(_listen(lines))
    await asyncio.wait({work, listening}, return_when=asyncio.FIRST_COMPLETED)
    for task in (listening, work):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def run(make_sender: MakeSender | None, make_receiver: MakeReceiver) -> None:
    """Do what the parent says until its end; when that can't be done, exit with a line on standard error. One that has
    no sender only receives."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    cv2.setNumThreads(1)
    try:
        asyncio.run(_until_left(make_sender, make_receiver))
    except TimeoutError:
        sys.exit(f"no connection within {CONNECT_S:g} s")
    except StreamsvcError as error:
        sys.exit(str(error))
