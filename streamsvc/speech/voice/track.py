"""A voice on a virtual clock: what would have been heard, and when, if these texts had been committed at these times.

The schedule is the live voice's; synthesis takes its measured time. For recordings that aren't interpreted live.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from streamsvc.frames.audio import OUTPUT_RATE, Samples
from streamsvc.speech.voice.engine import Engine
from streamsvc.speech.voice.schedule import Schedule
from streamsvc.speech.voice.sound import RoomTone, trimmed, with_pause
from streamsvc.speech.voice.voice import SpeechChunk


def speak_track(said: Sequence[tuple[int, str, float]], end_s: float, engine: Engine) -> Iterator[SpeechChunk]:
    """Yield the speech for `said`, (commit id, text, seconds when it was committed) in order; the text ends at `end_s`.

    `start_ns` counts from the same zero as the seconds. Raises VoiceError.
    """
    schedule, tone = Schedule(), RoomTone()
    waiting = list(said)
    now, ended = 0.0, False
    while True:
        while waiting and waiting[0][2] <= now:
            schedule.say(*waiting.pop(0))
        if not waiting and now >= end_s and not ended:
            schedule.end()
            ended = True
        clause = schedule.next(now)
        if clause is None:
            coming = [waiting[0][2]] if waiting else [] if ended else [end_s]
            wake = schedule.wake_s(now)
            if wake is not None:
                coming.append(max(wake, now + 1e-3))
            if not coming:
                return
            now = max(min(coming), now)
            continue
        begun = time.perf_counter()
        arrived = now
        for speech in engine.synthesise(clause.text, clause.rate):
            samples = with_pause(trimmed(speech), clause.pause_s, tone)
            arrived = now + time.perf_counter() - begun
            start = schedule.placed(arrived, len(samples) / OUTPUT_RATE)
            yield SpeechChunk(clause.ids, clause.text, samples, round(start * 1e9), clause.rate)
        now = arrived


def joined(chunks: Sequence[SpeechChunk], seconds: float) -> Samples:
    """Return (n,) float32 48 kHz mono of at least `seconds`: each chunk at its start, the room's tone elsewhere."""
    ends = [c.start_ns * OUTPUT_RATE // 1_000_000_000 + len(c.samples) for c in chunks]
    out = RoomTone().fill(max([round(seconds * OUTPUT_RATE), *ends]))
    for chunk, end in zip(chunks, ends, strict=True):
        out[end - len(chunk.samples) : end] = chunk.samples
    return np.clip(out, -1, 1)
