"""Sound in of any rate and layout, gaps filled; sound out pulled by the clock, never drifting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from aiortc.jitterbuffer import JitterFrame
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtcrtpreceiver import RemoteStreamTrack

from streamsvc.budget.clock import MockClock
from streamsvc.edge import AudioOut, decoding, executors
from streamsvc.edge.codecs import OpusEncoder
from streamsvc.edge.decoding import MAX_SOUND_BACKLOG, SOUND_AT_ONCE, Decoded, DecodeQueue
from streamsvc.edge.mono import MonoConverter
from streamsvc.edge.receive import AudioIn
from streamsvc.edge.rtpclock import SenderClock, ntp_of
from streamsvc.edge.send import FRAME_NS, Sound
from streamsvc.frames import Samples

MS = 1_000_000
OPUS = RTCRtpCodecParameters(mimeType="audio/opus", clockRate=48_000, channels=2, payloadType=96)


def sine(rate: int, samples: int, start: int = 0, hertz: float = 440) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(start, start + samples) / rate)


def frame(wave: np.ndarray, rate: int, layout: str) -> av.AudioFrame:
    """A 16-bit frame with `wave` on every channel."""
    channels = 2 if layout == "stereo" else 1
    whole = np.rint(wave * 32767).astype(np.int16).repeat(channels)[None]
    made = av.AudioFrame.from_ndarray(whole, format="s16", layout=layout)
    made.sample_rate, made.time_base = rate, Fraction(1, rate)
    return made


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_any_rate_and_layout_becomes_16_and_48_khz_mono_at_the_same_level(rate: int, layout: str) -> None:
    converter = MonoConverter()
    size = rate // 50
    pairs = [converter.convert(frame(sine(rate, size, i * size), rate, layout)) for i in range(50)]
    for samples, out_rate in (
        (np.concatenate([p[0] for p in pairs]), 16_000),
        (np.concatenate([p[1] for p in pairs]), 48_000),
    ):
        assert samples.dtype == np.float32 and samples.ndim == 1
        assert abs(len(samples) - out_rate) < out_rate // 100
        middle = samples[out_rate // 4 : out_rate * 3 // 4]
        assert 0.28 < np.abs(middle).max() < 0.32
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
        assert abs(int(spectrum.argmax()) * out_rate / len(middle) - 440) < 4


def test_opposite_channels_cancel_and_a_change_of_format_is_followed() -> None:
    converter = MonoConverter()
    wave = np.rint(sine(48_000, 960) * 32767).astype(np.int16)
    both = np.stack([wave, -wave], 1).reshape(1, -1)
    made = av.AudioFrame.from_ndarray(both, format="s16", layout="stereo")
    made.sample_rate = 48_000
    assert np.abs(converter.convert(made)[1]).max() < 1e-4
    assert np.abs(converter.convert(frame(sine(8_000, 160), 8_000, "mono"))[1]).max() > 0.2


class _Silent:
    """A track that never delivers."""

    async def recv(self) -> Any:
        await asyncio.Event().wait()


def microphone() -> tuple[AudioIn, list[tuple[Samples, int | None]], list[Samples], SenderClock]:
    clock = SenderClock(48_000)
    receiver: Any = SimpleNamespace(track=_Silent(), sender_clock=clock)
    incoming = AudioIn("0", receiver)
    speech: list[tuple[Samples, int | None]] = []
    voice: list[Samples] = []
    incoming.on_block = lambda samples, sender_ns, _: speech.append((samples, sender_ns))
    incoming.on_voice = lambda samples, *_: voice.append(samples)
    return incoming, speech, voice, clock


def decoded(converter: MonoConverter, wave: av.AudioFrame, number: int) -> Decoded:
    """The frame after `number` others of 20 ms, as the decoder's queue passes it on."""
    return Decoded(wave, number * 960, time.monotonic_ns(), 0, 48_000, converter.convert(wave))


async def test_what_was_lost_is_filled_with_silence_so_that_time_goes_on() -> None:
    incoming, speech, voice, clock = microphone()
    converter = MonoConverter()
    unix = 1_700_000_000_000_000_000
    clock.report(0, ntp_of(unix))
    for i in (0, 1, 2, 6, 7):
        wave = frame(sine(48_000, 960, i * 960), 48_000, "stereo")
        incoming.accept(decoded(converter, wave, i))
    incoming.stop()
    assert abs(sum(map(len, voice)) - 8 * 960) < 100
    assert abs(sum(len(s) for s, _ in speech) - 8 * 320) < 40
    assert np.abs(np.concatenate(voice)[3 * 960 + 100 : 6 * 960 - 100]).max() == 0
    # The block that begins with the filling was captured when the filling began.
    assert speech[3][1] == pytest.approx(unix + 60 * MS, abs=1000)


async def test_a_hole_of_seconds_is_a_jump_and_not_filled() -> None:
    incoming, _, voice, _ = microphone()
    converter = MonoConverter()
    for i in (0, 1, 500):
        wave = frame(sine(48_000, 960), 48_000, "mono")
        incoming.accept(decoded(converter, wave, i))
    incoming.stop()
    assert sum(map(len, voice)) <= 3 * 960


async def test_timestamps_that_leap_do_not_make_more_silence_than_time_passes() -> None:
    incoming, _, voice, _ = microphone()
    converter = MonoConverter()

    def seconds_heard(packets: int, first: int, arrived_s: int) -> float:
        """Of packets whose timestamps are 2 s apart, that come at once."""
        before = sum(map(len, voice))
        for i in range(first, first + packets):
            sent = decoded(converter, frame(sine(48_000, 960), 48_000, "mono"), 101 * i)
            incoming.accept(replace(sent, arrived_ns=arrived_s * 1000 * MS))
        return (sum(map(len, voice)) - before) / 48_000

    assert seconds_heard(50, 0, 1000) < 10 + 50 * 0.02 + 0.01
    assert seconds_heard(50, 50, 1000) < 50 * 0.02 + 0.01
    assert 4 < seconds_heard(50, 100, 1004) < 4 + 50 * 0.02 + 0.01
    incoming.stop()


async def test_a_consumer_that_raises_does_not_stop_the_reader() -> None:
    incoming, _, voice, _ = microphone()
    converter = MonoConverter()
    incoming.on_block = lambda *_: 1 / 0
    for i in range(3):
        incoming.accept(decoded(converter, frame(sine(48_000, 960), 48_000, "mono"), i))
    incoming.stop()
    assert len(voice) == 3


class Counting:
    """A source whose samples count up, a millionth each; it keeps how many it was asked for, and when."""

    def __init__(self, clock: MockClock) -> None:
        self._clock = clock
        self.asked: list[tuple[int, int]] = []

    def read(self, count: int) -> Samples:
        start = sum(n for n, _ in self.asked)
        self.asked.append((count, self._clock.now_ns()))
        return np.arange(start, start + count, dtype=np.float32) / 1_000_000


def speaker(source: Callable[[int], Any] | None = None) -> tuple[AudioOut, Counting, MockClock]:
    clock = MockClock(5_000 * MS)
    counting = Counting(clock)

    async def sleep(seconds: float) -> None:
        clock.advance(round(seconds * 1e9))

    return AudioOut(source or counting.read, clock=clock, sleep=sleep), counting, clock


async def play(out: AudioOut, count: int) -> list[Sound]:
    return [await out.recv() for _ in range(count)]


async def test_sound_is_pulled_20_ms_a_frame_when_it_is_due() -> None:
    out, counting, _ = speaker()
    sounds = await play(out, 5)
    assert np.array_equal(np.concatenate([s.samples for s in sounds]), np.arange(4800, dtype=np.float32) / 1_000_000)
    due = [5_000 * MS + i * FRAME_NS for i in range(5)]
    assert counting.asked == [(960, at) for at in due]
    assert [s.capture_ns for s in sounds] == due
    assert [s.pts for s in sounds] == [5_000 * 48 + i * 960 for i in range(5)]


async def test_a_loop_that_comes_round_seldom_still_sends_every_20_ms_once() -> None:
    out, counting, clock = speaker()
    sounds = []
    for _ in range(40):
        sounds += [await out.recv(), *out.overdue()]
        clock.advance(70 * MS)
    assert [b.pts - a.pts for a, b in pairwise(sounds)] == [960] * (len(sounds) - 1)
    heard = np.concatenate([s.samples for s in sounds])
    assert np.array_equal(heard, np.arange(len(heard), dtype=np.float32) / 1_000_000)
    assert len(counting.asked) == len(sounds) and abs(len(sounds) * 20 - 40 * 70) <= 80


async def test_sound_that_waits_is_decoded_in_few_calls_and_the_oldest_goes_when_it_is_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, run = [], executors.run

    async def counted(pool: Any, call: Any, *args: Any) -> Any:
        calls.append(call)
        return await run(pool, call, *args)

    monkeypatch.setattr(executors, "run", counted)
    encoder, packets = OpusEncoder(), []
    for i in range(MAX_SOUND_BACKLOG + 20):
        for data in encoder.encode(np.float32(sine(48_000, 960, i * 960)), i * 960):
            packets.append(JitterFrame(data=data, timestamp=i * 960))
    track = RemoteStreamTrack(kind="audio")
    queue = DecodeQueue("audio", track, asyncio.Event())
    for packet in packets:
        queue.put((OPUS, packet))
    queue.put(None)
    heard: list[Decoded] = []
    while (item := await track._queue.get()) is not None:
        heard.append(item)
    assert queue.dropped == len(packets) - MAX_SOUND_BACKLOG
    assert [d.rtp_timestamp for d in heard] == [p.timestamp for p in packets[queue.dropped :]]
    assert len(calls) == MAX_SOUND_BACKLOG / SOUND_AT_ONCE
    voice = np.concatenate([d.sound.voice for d in heard if d.sound is not None])
    assert abs(len(voice) - MAX_SOUND_BACKLOG * 960) < 960 and 0.25 < np.abs(voice[48_000:]).max() < 0.35


async def test_whoever_sends_more_sound_than_can_be_heard_does_not_keep_the_others_thread_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000 * MS]
    monkeypatch.setattr(decoding.time, "monotonic_ns", lambda: now[0])
    (data,) = OpusEncoder().encode(np.zeros(960, np.float32), 0)
    track = RemoteStreamTrack(kind="audio")
    queue = DecodeQueue("audio", track, asyncio.Event())
    taken = []
    for passed_s in (0, 0, 0, 4, 0, 100, 0):
        now[0] += passed_s * 1000 * MS
        dropped = queue.dropped
        for i in range(MAX_SOUND_BACKLOG):
            queue.put((OPUS, JitterFrame(data=data, timestamp=i * 960)))
        taken.append(MAX_SOUND_BACKLOG - (queue.dropped - dropped))
        for _ in range(taken[-1]):
            await track._queue.get()
    assert taken == [500, 500, 0, 500, 0, 500, 500], "10 s and what passes, one and a half times"
    queue.put(None)
    assert await track._queue.get() is None


async def test_a_decoder_that_fails_in_a_way_of_its_own_does_not_end_the_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (data,) = OpusEncoder().encode(np.zeros(960, np.float32), 0)
    track = RemoteStreamTrack(kind="audio")
    queue = DecodeQueue("audio", track, asyncio.Event())
    decode, failures = queue._decode, [RuntimeError("nobody thought of this")]

    def failing_once(item: Any) -> Any:
        if failures:
            raise failures.pop()
        return decode(item)

    monkeypatch.setattr(queue, "_decode", failing_once)
    for i in range(2):
        queue.put((OPUS, JitterFrame(data=data, timestamp=i * 960)))
    queue.put(None)
    async with asyncio.timeout(20):
        heard = [await track._queue.get() for _ in range(2)]
    assert heard[0].rtp_timestamp == 960 and heard[1] is None and queue.errors == 1


async def test_an_hour_does_not_drift() -> None:
    silence = np.zeros(960, np.float32)
    out, _, clock = speaker(lambda _: silence)
    first = await out.recv()
    start = clock.now_ns()
    last = (await play(out, 180_000))[-1]
    assert last.pts - first.pts == 180_000 * 960
    assert abs(clock.now_ns() - start - 180_000 * FRAME_NS) < MS


async def test_after_a_stall_it_goes_on_from_now_with_timestamps_on_the_clock() -> None:
    out, counting, clock = speaker()
    first = await out.recv()
    clock.advance(1_005 * MS)
    later = await out.recv()
    assert abs((later.pts - first.pts) / 48 - 1_000) <= 25
    assert later.capture_ns - first.capture_ns == (later.pts - first.pts) * MS // 48
    assert len(counting.asked) == 2


@pytest.mark.parametrize(
    "bad", [np.zeros(959, np.float32), np.zeros((960, 1), np.float32), np.zeros(960), [0.0] * 960, None]
)
async def test_what_is_no_sound_is_silence_and_is_logged_once(bad: Any, caplog: pytest.LogCaptureFixture) -> None:
    out, _, _ = speaker(lambda _: bad)
    for sound in await play(out, 3):
        assert sound.samples.shape == (960,) and sound.samples.dtype == np.float32 and not sound.samples.any()
    assert [r.levelname for r in caplog.records] == ["ERROR"]
    assert "float32 (960,) is accepted" in caplog.text


async def test_a_source_that_raises_is_silence_and_is_heard_when_it_recovers(caplog: pytest.LogCaptureFixture) -> None:
    blocks = iter([None, None, np.full(960, 0.25, np.float32)])

    def source(_: int) -> Samples:
        block = next(blocks)
        if block is None:
            raise RuntimeError("the microphone fell off")
        return block

    out, _, _ = speaker(source)
    sounds = await play(out, 3)
    assert [float(s.samples.max()) for s in sounds] == [0.0, 0.0, 0.25]
    assert [s.pts - sounds[0].pts for s in sounds] == [0, 960, 1920]
    assert len(caplog.records) == 1 and "the microphone fell off" in caplog.text


async def test_an_ended_track_says_so() -> None:
    out, counting, _ = speaker()
    out.stop()
    with pytest.raises(MediaStreamError):
        await out.recv()
    assert not counting.asked
