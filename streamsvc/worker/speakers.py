"""Speech streams of one worker: sound in, passes queued, captions and a voice out. Knows no WebRTC."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

import numpy as np
from msgspec.structs import replace

from streamsvc.budget import Class, Clock, Job, Slices
from streamsvc.errors import StreamsvcError
from streamsvc.frames import SPEECH_RATE
from streamsvc.frames.link import (
    ConfigureSpeech,
    FromWorker,
    Maybe,
    OpenSpeech,
    PassDone,
    Revised,
    Said,
    SoundIn,
    SoundOut,
    SpeechCost,
    StageSpan,
    Trouble,
)
from streamsvc.speech import Commit, Interpreter, InterpretSettings, Pass, PassResult, TentativeText, Translator
from streamsvc.speech.batcher import Batcher
from streamsvc.speech.events import Passage
from streamsvc.speech.policies import DEFAULT_POLICY
from streamsvc.speech.voice import SpeechChunk, Voice
from streamsvc.worker.lanes import Lanes
from streamsvc.worker.passcost import PassCosts
from streamsvc.worker.second import SecondPasses

log = logging.getLogger(__name__)

PASS_BUDGET_NS = 700_000_000
"""A pass should be over this long after the sound it reads; orders speech among views."""


class Speaker:
    """One voice being interpreted. `sound` and `configure` come from the reader thread, passes run on lanes."""

    def __init__(
        self,
        message: OpenSpeech,
        translator: Translator,
        voice: Voice | None,
        lanes: Lanes,
        clock: Clock,
        send: Callable[[FromWorker], None],
        batcher: Batcher,
        second: SecondPasses,
        costs: PassCosts,
    ) -> None:
        self.name = message.stream
        self._costs = costs
        self._asked_ns: int | None = None
        self._lanes, self._clock, self._send = lanes, clock, send
        self._lock = threading.Lock()
        self._passes = 0
        self._samples = 0
        self._end_ns = clock.now_ns()
        self._voice = voice
        if voice is not None:
            voice.choose(message.voice)
        self._second = second
        self._closed = False
        settings = InterpretSettings(
            policy=message.policy or DEFAULT_POLICY,
            parameters=message.parameters,
            source=message.source,
            target=message.target,
            glossary=tuple(message.glossary),
        )
        self._interpreter = Interpreter(translator, settings, batcher=batcher)

    def sound(self, message: SoundIn) -> None:
        """Take sound and queue the pass that it makes due."""
        samples = np.frombuffer(message.samples, "<f4").astype(np.float32, copy=False)
        with self._lock:
            self._interpreter.feed(samples)
            self._samples += len(samples)
            self._end_ns = message.end_ns
        if self._voice is not None:
            self._voice.hear(samples)
        self._queue()

    def configure(self, message: ConfigureSpeech) -> None:
        """Change settings; raises StreamsvcError when they are not accepted, and then changes nothing."""
        with self._lock:
            self._interpreter.configure(
                policy=message.policy,
                parameters=message.parameters,
                source=message.source,
                target=message.target,
                glossary=message.glossary,
            )
        if message.voice is not None and self._voice is not None:
            self._voice.choose(message.voice)

    def close(self) -> None:
        """End the voice, and say nothing more of what is over: a stream of this name may be opened again."""
        self._closed = True
        self._second.close(self.name)
        if self._voice is not None:
            self._voice.close()

    def _queue(self) -> None:
        with self._lock:
            due = self._interpreter.next_pass()
            if due is None:
                return
            self._passes += 1
            number, end_ns = self._passes, self._end_ns
            if self._asked_ns is not None:
                self._costs.followed(end_ns - self._asked_ns)
            self._asked_ns = end_ns
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
            self._send(
                PassDone(
                    stream=self.name,
                    id=number,
                    source_end_ns=self._capture_ns(commits[-1].source_end_ms) if commits else end_ns,
                    deadline_ns=deadline,
                    text=" ".join(c.text for c in commits),
                    stages=spans,
                )
            )
            self._queue()

        job = Job(self._lanes.next_id(), self.name, Class.SPEECH, deadline, self._costs.pass_ns)
        self._lanes.submit(job, work, on_end)

    def _capture_ns(self, source_ms: float) -> int:
        """Return when the sound at `source_ms` of the stream was captured."""
        with self._lock:
            behind_ms = self._samples * 1000 / SPEECH_RATE - source_ms
            return self._end_ns - round(behind_ms * 1e6)

    def _revise(self, passage: Passage, text: str) -> None:
        if not self._closed:
            self._send(Revised(stream=self.name, ids=list(passage.ids), text=text))

    def _finish(self, due: Pass, result: PassResult) -> list[Commit]:
        with self._lock:
            events = self._interpreter.finish(due, result)
        commits: list[Commit] = []
        if self._closed:
            return commits
        for event in events:
            if isinstance(event, Commit):
                commits.append(event)
                self._send(
                    Said(
                        stream=self.name,
                        id=event.id,
                        text=event.text,
                        source_start_ms=event.source_start_ms,
                        source_end_ms=event.source_end_ms,
                        audio_ms=event.audio_ms,
                    )
                )
                if self._voice is not None:
                    self._voice.say(event.id, event.text)
            elif isinstance(event, TentativeText):
                self._send(Maybe(stream=self.name, text=event.text))
            else:
                self._second.add(self.name, event, due.no_speech_threshold, partial(self._revise, event))
        return commits


class Speakers:
    """All speech streams of the worker, over one model instance. `translator` None: speech is unavailable here.

    `expect` is told the share of a lane that a speaker will take, and when they have gone, that it is free (negative).
    """

    def __init__(
        self,
        translator: Translator | None,
        voice: Callable[[Callable[[SpeechChunk], None], Callable[[str], None]], Voice] | None,
        lanes: Lanes,
        clock: Clock,
        send: Callable[[FromWorker], None],
        batcher: Batcher | None = None,
        second: SecondPasses | None = None,
        expect: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._make_voice, self._expect = voice, expect
        self._costs = PassCosts()
        self._lanes, self._clock, self._send = lanes, clock, send
        self._model: tuple[Translator, Batcher, SecondPasses] | None = None
        if translator is not None:
            second = second or SecondPasses(translator, lanes)
            self._model = translator, batcher or Batcher(translator), second
        self._speakers: dict[str, Speaker] = {}

    def open(self, message: OpenSpeech) -> None:
        """Start or restart a speaker. What isn't accepted is reported and left out: first the glossary, because only
        the model knows how much of it fits, then all settings."""
        self.close(message.stream)
        if self._model is None:
            note = "speech translation is not available on this worker; the original voice is passed through"
            self._send(Trouble(stream=message.stream, code="no-speech", message=note))
            return
        translator, batcher, second = self._model
        stream = message.stream
        voice = None
        if message.spoken and self._make_voice is not None:
            voice = self._make_voice(
                lambda chunk: self._send(SoundOut(stream=stream, ids=list(chunk.ids), samples=_bytes(chunk))),
                lambda why: self._send(Trouble(stream=stream, code="voice-failed", message=why)),
            )
        without = [replace(message, glossary=[])] if message.glossary else []
        for settings in (message, *without, OpenSpeech(stream=stream, voice=message.voice, spoken=message.spoken)):
            try:
                speaker = Speaker(
                    settings, translator, voice, self._lanes, self._clock, self._send, batcher, second, self._costs
                )
            except StreamsvcError as e:
                self._send(Trouble(stream=stream, code="bad-settings", message=str(e)))
            else:
                self._speakers[stream] = speaker
                self._expect(self._costs.share)
                return

    def configure(self, message: ConfigureSpeech) -> None:
        """Change a speaker's settings. What isn't accepted is reported and left out, as in `open`."""
        speaker = self._speakers.get(message.stream)
        if speaker is None:
            return
        for settings in (message, *([replace(message, glossary=None)] if message.glossary else [])):
            try:
                speaker.configure(settings)
            except StreamsvcError as e:
                self._send(Trouble(stream=message.stream, code="bad-settings", message=str(e)))
            else:
                return

    def sound(self, message: SoundIn) -> None:
        """Take a block of sound; of a stream that isn't open it is dropped."""
        speaker = self._speakers.get(message.stream)
        if speaker is not None:
            speaker.sound(message)

    def close(self, stream: str) -> None:
        """End a speaker."""
        speaker = self._speakers.pop(stream, None)
        if speaker is not None:
            speaker.close()
            self._expect(-self._costs.share)
            self._lanes.close_stream(stream)

    def cost(self) -> SpeechCost | None:
        """Return what a speaker takes while they speak; None where there is no speech."""
        return None if self._model is None else self._costs.speaker()

    def close_all(self) -> None:
        """End every speaker, so that no voice process is left behind."""
        for stream in list(self._speakers):
            self.close(stream)


def _bytes(chunk: SpeechChunk) -> bytes:
    return np.ascontiguousarray(chunk.samples, "<f4").tobytes()
