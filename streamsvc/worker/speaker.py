"""One voice being interpreted in a worker: sound in, passes queued, captions and a voice out.

Promises: what was said last is said, after `end` or, when sound only fails to come, after a `look`; an outage counts as
silence, so that the words before and after it keep their times and are not taken for one phrase.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from streamsvc.budget import Class, Clock, Job, Slices
from streamsvc.errors import StreamsvcError
from streamsvc.frames import SPEECH_RATE, Samples
from streamsvc.frames.link import (
    ConfigureSpeech,
    FromWorker,
    Maybe,
    PassDone,
    Revised,
    Said,
    SoundIn,
    StageSpan,
    Trouble,
)
from streamsvc.speech import Commit, Event, Interpreter, Pass, PassResult, TentativeText, Translator
from streamsvc.speech.batcher import Batcher
from streamsvc.speech.events import LeftOut, Passage
from streamsvc.speech.voice import Voice
from streamsvc.worker.lanes import Lanes
from streamsvc.worker.passcost import PassCosts
from streamsvc.worker.second import SecondPasses
from streamsvc.worker.soundclock import SoundClock, nanoseconds

PASS_BUDGET_NS = 700_000_000
"""A pass should be over this long after the sound it reads; orders speech among views."""

OUTAGE_NS, FILL_NS = 1_000_000_000, 2_000_000_000
"""What counts as an outage, not as sound that came unevenly; and how much silence stands for one at most."""

LAST_WORDS_S = 20.0
"""How long the voice may go on when the speaker has gone."""


class Speaker:
    """`sound`, `configure` and `end` come from the reader thread, `look` from the heartbeat's, passes run on lanes."""

    def __init__(
        self,
        name: str,
        translator: Translator,
        voice: Voice | None,
        lanes: Lanes,
        clock: Clock,
        send: Callable[[FromWorker], None],
        batcher: Batcher,
        second: SecondPasses,
        costs: PassCosts,
    ) -> None:
        self.name = name
        self._costs = costs
        self._asked_ns: int | None = None
        self._lanes, self._clock, self._send = lanes, clock, send
        self._lock = threading.Lock()
        self._times = SoundClock()
        self._end_ns = self._came_ns = clock.now_ns()
        self._voice = voice
        self._spoken = True
        self._second = second
        self._closed = False
        self._running = 0
        self._on_over: Callable[[], None] | None = None
        self._interpreter = Interpreter(translator, batcher=batcher)

    def sound(self, message: SoundIn) -> None:
        """Take sound and queue the pass that it makes due."""
        samples = np.frombuffer(message.samples, "<f4").astype(np.float32, copy=False)
        with self._lock:
            missing_ns = self._times.missing_ns(len(samples), message.end_ns)
            if missing_ns >= OUTAGE_NS:
                if missing_ns >= self._timeout_ns:
                    self._interpreter.pause()
                silence = np.zeros(min(missing_ns, FILL_NS) * SPEECH_RATE // 1_000_000_000, np.float32)
                self._take(silence, message.end_ns - nanoseconds(len(samples)))
            self._take(samples, message.end_ns)
            self._came_ns = self._clock.now_ns()
        if self._voice is not None:
            self._voice.hear(samples)
        self._queue()

    def look(self) -> None:
        """See whether sound still comes: when none does for the time that ends a phrase, that phrase is over."""
        with self._lock:
            over = self._clock.now_ns() - self._came_ns > self._timeout_ns and self._interpreter.pause()
        if over:
            self._queue()

    def configure(self, message: ConfigureSpeech) -> list[str]:
        """Change settings. What isn't accepted is left out, alone, and returned; a parameter costs all parameters."""
        refused: list[str] = []
        policy = {"policy": message.policy, "parameters": message.parameters}
        if not self._change(policy, refused):
            self._change({"policy": message.policy}, refused)
        for name in ("source", "target", "glossary"):
            self._change({name: getattr(message, name)}, refused)
        if message.voice is not None and self._voice is not None:
            self._voice.choose(message.voice)
        if message.spoken is not None:
            self._spoken = message.spoken
        return list(dict.fromkeys(refused))

    def end(self, on_over: Callable[[], None]) -> None:
        """Take it that no more sound comes; `on_over` is called, on any thread, when all that is left was said."""
        with self._lock:
            self._on_over = on_over
            self._interpreter.end()
        self._queue()

    def close(self) -> None:
        """End the voice, and say nothing more of what is over: a stream of this name may be opened again."""
        self._closed = True
        self._second.close(self.name)
        if self._voice is not None:
            self._voice.close()

    @property
    def _timeout_ns(self) -> int:
        return round(self._interpreter.settings.parameters["phrase_timeout"] * 1e9)

    def _take(self, samples: Samples, end_ns: int) -> None:
        self._interpreter.feed(samples)
        self._times.took(len(samples), end_ns)
        self._end_ns = end_ns

    def _change(self, changes: dict[str, Any], refused: list[str]) -> bool:
        try:
            with self._lock:
                self._interpreter.configure(**changes)
        except StreamsvcError as e:
            refused.append(str(e))
            return False
        return True

    def _queue(self) -> None:
        with self._lock:
            due = self._interpreter.next_pass()
            news = self._interpreter.news()
            threshold = self._interpreter.settings.no_speech_threshold
            end_ns = self._end_ns
            # What a pass has given the interpreter may still have to be told.
            over = self._on_over if self._interpreter.finished and not self._running else None
            if over is not None:
                self._on_over = None
            if due is not None:
                self._running += 1
                if self._asked_ns is not None:
                    self._costs.followed(end_ns - self._asked_ns)
                self._asked_ns = end_ns
        self._tell(news, threshold)
        if due is not None:
            self._submit(due, end_ns)
        elif over is not None:
            self._end_voice(over)

    def _submit(self, due: Pass, end_ns: int) -> None:
        deadline = end_ns + PASS_BUDGET_NS
        commits: list[Commit] = []

        def work() -> Slices[None]:
            result: PassResult = yield from due.slices()
            commits.extend(self._finish(due, result))

        def on_end(reason: str | None, spans: list[StageSpan]) -> None:
            if self._closed:
                return
            if reason is None:
                self._costs.observe(spans)
            else:
                with self._lock:
                    left_out = self._interpreter.abandon(due, failed=reason != "hopeless")
                lost = "the rest of a phrase can't be translated" if left_out else "a speech pass was lost"
                self._send(Trouble(stream=self.name, code="pass-failed", message=f"{lost}: {reason}"))
                if left_out:
                    self._send(Maybe(stream=self.name, text=""))
            text = " ".join(c.text for c in commits)
            source_end_ns = self._captured(commits[-1].source_end_ms) if commits else end_ns
            self._send(
                PassDone(
                    stream=self.name,
                    source_end_ns=source_end_ns,
                    deadline_ns=deadline,
                    text=text,
                    stages=spans,
                    reason=reason,
                )
            )
            with self._lock:
                self._running -= 1
            self._queue()

        job = Job(self._lanes.next_id(), self.name, Class.SPEECH, deadline, self._costs.pass_ns)
        self._lanes.submit(job, work, on_end)

    def _captured(self, source_ms: float) -> int:
        """Return when the sound at `source_ms` of the stream was captured."""
        with self._lock:
            return self._times.instant(source_ms * SPEECH_RATE / 1000)

    def _revise(self, passage: Passage, text: str) -> None:
        if not self._closed:
            self._send(Revised(stream=self.name, ids=list(passage.ids), text=text))

    def _finish(self, due: Pass, result: PassResult) -> list[Commit]:
        with self._lock:
            events = self._interpreter.finish(due, result)
        if self._closed:
            return []
        self._tell(events, due.no_speech_threshold)
        return [e for e in events if isinstance(e, Commit)]

    def _tell(self, events: Sequence[Event], threshold: float) -> None:
        for event in events:
            match event:
                case Commit():
                    self._say(event)
                case TentativeText():
                    self._send(Maybe(stream=self.name, text=event.text))
                case Passage():
                    self._second.add(self.name, event, threshold, partial(self._revise, event))
                case LeftOut():
                    self._tell_left_out(event)

    def _say(self, commit: Commit) -> None:
        self._send(
            Said(
                stream=self.name,
                id=commit.id,
                text=commit.text,
                source_start_ms=commit.source_start_ms,
                source_end_ms=commit.source_end_ms,
                audio_ms=commit.audio_ms,
                start_ns=self._captured(commit.source_start_ms),
                end_ns=self._captured(commit.source_end_ms),
            )
        )
        if self._voice is not None and self._spoken:
            self._voice.say(commit.id, commit.text)

    def _tell_left_out(self, event: LeftOut) -> None:
        seconds = (event.end_ms - event.start_ms) / 1000
        note = f"{seconds:.0f} s of speech were not translated: the translation was too far behind"
        self._send(Trouble(stream=self.name, code="left-out", message=note))
        end_ns = self._captured(event.end_ms)
        deadline = end_ns + PASS_BUDGET_NS
        self._send(
            PassDone(
                stream=self.name, source_end_ns=end_ns, deadline_ns=deadline, text="", stages=[], reason="left-out"
            )
        )

    def _end_voice(self, on_over: Callable[[], None]) -> None:
        voice = self._voice
        if voice is None:
            on_over()
            return

        def wait() -> None:
            voice.end()
            voice.join(LAST_WORDS_S)
            on_over()

        threading.Thread(target=wait, name="last-words", daemon=True).start()
