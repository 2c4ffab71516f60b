"""Sound in of any rate and layout, gaps filled; sound out paced by the clock, bounded, never drifting."""

from __future__ import annotations

import asyncio
import time
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError

from streamsvc.budget.clock import MockClock
from streamsvc.edge import AudioOut, EdgeError
from streamsvc.edge.receive import AudioIn, MonoConverter
from streamsvc.edge.rtp_receiver import Decoded
from streamsvc.edge.rtpclock import SenderClock, ntp_of
from streamsvc.edge.send import FRAME_NS, LIVE_BACKLOG, Sound
from streamsvc.frames import Samples

MS = 1_000_000


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


async def test_what_was_lost_is_filled_with_silence_so_that_time_goes_on() -> None:
    incoming, speech, voice, clock = microphone()
    unix = 1_700_000_000_000_000_000
    clock.report(0, ntp_of(unix))
    for i in (0, 1, 2, 6, 7):
        wave = frame(sine(48_000, 960, i * 960), 48_000, "stereo")
        await incoming.accept(Decoded(wave, i * 960, time.monotonic_ns(), 0, 48_000))
    incoming.stop()
    assert abs(sum(map(len, voice)) - 8 * 960) < 100
    assert abs(sum(len(s) for s, _ in speech) - 8 * 320) < 40
    assert incoming.filled_samples == 3 * 320
    assert np.abs(np.concatenate(voice)[3 * 960 + 100 : 6 * 960 - 100]).max() == 0
    # The block that begins with the filling was captured when the filling began.
    assert speech[3][1] == pytest.approx(unix + 60 * MS, abs=1000)


async def test_a_hole_of_seconds_is_a_jump_and_not_filled() -> None:
    incoming, _, voice, _ = microphone()
    for i in (0, 1, 500):
        wave = frame(sine(48_000, 960), 48_000, "mono")
        await incoming.accept(Decoded(wave, i * 960, 0, 0, 48_000))
    incoming.stop()
    assert sum(map(len, voice)) <= 3 * 960


async def test_a_consumer_that_raises_does_not_stop_the_reader() -> None:
    incoming, _, voice, _ = microphone()
    incoming.on_block = lambda *_: 1 / 0
    for i in range(3):
        await incoming.accept(Decoded(frame(sine(48_000, 960), 48_000, "mono"), i * 960, 0, 0, 48_000))
    incoming.stop()
    assert len(voice) == 3


def speaker(**settings: Any) -> tuple[AudioOut, MockClock]:
    clock = MockClock(5_000 * MS)

    async def sleep(seconds: float) -> None:
        clock.advance(round(seconds * 1e9))

    return AudioOut(clock=clock, sleep=sleep, **settings), clock


async def play(out: AudioOut, count: int) -> list[Sound]:
    return [await out.recv() for _ in range(count)]


async def test_sound_leaves_20_ms_a_frame_on_the_clock() -> None:
    out, clock = speaker()
    samples = sine(48_000, 4800).astype(np.float32)
    out.put(samples, 5_000 * MS)
    start = clock.now_ns()
    sounds = await play(out, 5)
    assert np.array_equal(np.concatenate([s.samples for s in sounds]), samples)
    assert [s.capture_ns for s in sounds] == [5_000 * MS + i * FRAME_NS for i in range(5)]
    assert [s.pts - sounds[0].pts for s in sounds] == [i * 960 for i in range(5)]
    assert clock.now_ns() - start == 4 * FRAME_NS
    assert out.backlog_ms == 0


async def test_an_hour_does_not_drift() -> None:
    out, clock = speaker()
    first = await out.recv()
    start = clock.now_ns()
    last = (await play(out, 180_000))[-1]
    assert last.pts - first.pts == 180_000 * 960
    assert abs(clock.now_ns() - start - 180_000 * FRAME_NS) < MS


async def test_an_underrun_plays_room_tone_and_waits_for_the_prebuffer() -> None:
    out, _ = speaker(prebuffer_ms=40)
    out.put(np.full(2400, 0.5, np.float32))
    sounds = await play(out, 4)
    assert sounds[2].samples[:480].min() == 0.5 and np.abs(sounds[2].samples[480:]).max() < 1e-3
    assert 0 < np.abs(sounds[3].samples).max() < 1e-3
    assert out.underruns == 1
    out.put(np.full(960, 0.5, np.float32))
    assert np.abs((await out.recv()).samples).max() < 1e-3
    out.put(np.full(960, 0.5, np.float32))
    assert (await out.recv()).samples.min() == 0.5


async def test_after_a_stall_it_goes_on_from_now_with_timestamps_on_the_clock() -> None:
    out, clock = speaker()
    first = await out.recv()
    clock.advance(1_005 * MS)
    later = await out.recv()
    assert abs((later.pts - first.pts) / 48 - 1_000) <= 25


async def test_live_sound_stays_near_now_and_the_backlog_is_seen() -> None:
    out, _ = speaker()
    for i in range(20):
        out.put(np.full(960, i, np.float32) / 100, live=True)
    assert out.backlog_ms == LIVE_BACKLOG / 48 and out.dropped_samples == 20 * 960 - LIVE_BACKLOG
    assert (await out.recv()).samples[0] == pytest.approx(0.14)
    out.clear()
    assert out.backlog_ms == 0


async def test_a_source_is_asked_when_sound_is_due() -> None:
    asked: list[int] = []

    def source(count: int) -> Samples:
        asked.append(count)
        return np.full(count, 0.25, np.float32)

    out, _ = speaker(source=source)
    assert all(s.samples.min() == 0.25 for s in await play(out, 3)) and asked == [960] * 3


@pytest.mark.parametrize("bad", [np.zeros((2, 3), np.float32), np.zeros(4), [1.0, 2.0]])
async def test_what_is_no_sound_is_refused(bad: Any) -> None:
    with pytest.raises(EdgeError) as caught:
        AudioOut().put(bad)
    assert caught.value.code == "bad-sound"


async def test_an_ended_track_says_so() -> None:
    out, _ = speaker()
    out.stop()
    with pytest.raises(MediaStreamError):
        await out.recv()
