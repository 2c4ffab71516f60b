"""The voice of one speaker: text goes in as it is committed, speech comes out clause by clause from an own thread.

Promises: every word that was said is spoken once and in order, or `on_trouble` says why not; `say` never blocks; a
voice that falls behind speaks up to 1.25 times faster with shorter pauses (see schedule.py). An engine that fails is
left alone for `REST_S`, in which nothing is spoken, and tried again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from streamsvc.budget.clock import Clock, MonotonicClock
from streamsvc.frames.audio import OUTPUT_RATE, Samples
from streamsvc.speech.errors import UnsayableError, VoiceError
from streamsvc.speech.voice.engine import Engine, PiperEngine
from streamsvc.speech.voice.schedule import Clause, Schedule
from streamsvc.speech.voice.sound import RoomTone, trimmed, with_pause

REST_S = 10.0


@dataclass(frozen=True, slots=True)
class SpeechChunk:
    """Speech of one clause or sentence, (n,) float32 48 kHz mono, the pause after it included.

    `ids` are the commits whose words are in it, `text` the clause. `start_ns` is when it begins to be heard if what
    came before is played without a gap, on the voice's clock.
    """

    ids: tuple[int, ...]
    text: str
    samples: Samples
    start_ns: int
    rate: float


class Voice:
    """Args: `on_speech` and `on_trouble` are called from the voice's thread; `engine` may be shared by several voices
    (then it isn't closed with this one), None starts Piper; `listener` takes what `hear` is given. Raises VoiceError
    when no voice is installed. `choose` takes the name of the voice that the speaker wants, where there are several."""

    def __init__(
        self,
        on_speech: Callable[[SpeechChunk], None],
        on_trouble: Callable[[str], None],
        *,
        engine: Engine | None = None,
        listener: Callable[[Samples], None] | None = None,
        choose: Callable[[str], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._choose = choose
        self._on_speech, self._on_trouble = on_speech, on_trouble
        self._owns = engine is None
        self._listener = listener
        self._engine: Engine = engine if engine is not None else PiperEngine()
        self._clock = clock or MonotonicClock()
        self._schedule = Schedule()
        self._tone = RoomTone()
        self._changed = threading.Condition()
        self._closed = self._ended = False
        self._rests_until_s = 0.0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, which starts the engine; `say` does it too."""
        with self._changed:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="voice", daemon=True)
                self._thread.start()

    def say(self, id: int, text: str) -> None:
        """Queue the words of commit `id`; once the voice is closed, do nothing."""
        self.start()
        with self._changed:
            if self._closed:
                return
            self._schedule.say(id, text, self._now_s())
            self._changed.notify()

    def choose(self, name: str) -> None:
        """Speak in the voice of that name, `auto` in the matched one, from the next words on; one voice stays what it
        is."""
        if self._choose is not None:
            self._choose(name)

    def hear(self, samples: Samples) -> None:
        """Take the speaker's own sound, (n,) float32 16 kHz mono: a voice that is matched to it listens."""
        if self._listener is not None:
            self._listener(samples)

    def end(self) -> None:
        """Say that no more text comes: the thread speaks what is queued and ends."""
        with self._changed:
            self._schedule.end()
            self._ended = True
            self._changed.notify()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until everything was spoken after `end`; return whether it was."""
        if self._thread is not None:
            self._thread.join(timeout_s)
            return not self._thread.is_alive()
        return True

    def close(self) -> None:
        """Stop at once; what is queued is not spoken."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._owns:
            self._engine.close()

    def _now_s(self) -> float:
        return self._clock.now_ns() / 1e9

    def _run(self) -> None:
        try:
            with self._telling():
                self._engine.start()
            while (clause := self._next()) is not None:
                if self._now_s() >= self._rests_until_s:
                    with self._telling():
                        self._speak(clause)
        finally:
            with self._changed:
                self._closed = True

    def _next(self) -> Clause | None:
        """Wait for a clause that is due; None once the voice has been closed, or has ended and said everything."""
        with self._changed:
            while not self._closed:
                now = self._now_s()
                clause = self._schedule.next(now)
                if clause is not None:
                    return clause
                if self._ended and not self._schedule.waiting_words:
                    return None
                wake = self._schedule.wake_s(now)
                self._changed.wait(None if wake is None else max(wake - now, 0.005))
        return None

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Tell what the engine fails in, and leave it alone for a while where it would fail again."""
        try:
            yield
        except UnsayableError as e:
            self._on_trouble(str(e))
        except VoiceError as e:
            self._rests_until_s = self._now_s() + REST_S
            if not self._closed:
                self._on_trouble(str(e))

    def _speak(self, clause: Clause) -> None:
        for speech in self._engine.synthesise(clause.text, clause.rate):
            samples = with_pause(trimmed(speech), clause.pause_s, self._tone)
            with self._changed:
                start = self._schedule.placed(self._now_s(), len(samples) / OUTPUT_RATE)
            if self._closed:
                return
            self._on_speech(SpeechChunk(clause.ids, clause.text, samples, int(np.rint(start * 1e9)), clause.rate))
