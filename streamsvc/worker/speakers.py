"""Speech streams of one worker: who is open, what they are made of, and what they cost. Knows no WebRTC."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from streamsvc.budget import Clock
from streamsvc.frames.link import (
    ConfigureSpeech,
    FromWorker,
    OpenSpeech,
    SoundIn,
    SoundOut,
    SpeechCost,
    SpeechOver,
    Trouble,
)
from streamsvc.speech import Translator
from streamsvc.speech.batcher import Batcher
from streamsvc.speech.voice import SpeechChunk, Voice
from streamsvc.worker.lanes import Lanes
from streamsvc.worker.passcost import PassCosts
from streamsvc.worker.second import SecondPasses
from streamsvc.worker.speaker import Speaker


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
        self._lock = threading.Lock()
        self._speakers: dict[str, Speaker] = {}
        self._ending: dict[str, Speaker] = {}

    def open(self, message: OpenSpeech) -> None:
        """Start or restart a speaker. What isn't accepted is reported and left out."""
        stream = message.stream
        self._drop(stream)
        if self._model is None:
            note = "speech translation is not available on this worker; the original voice is passed through"
            self._send(Trouble(stream=stream, code="no-speech", message=note))
            return
        translator, batcher, second = self._model
        voice = None
        if self._make_voice is not None:
            voice = self._make_voice(
                lambda chunk: self._send(SoundOut(stream=stream, ids=list(chunk.ids), samples=_bytes(chunk))),
                lambda why: self._send(Trouble(stream=stream, code="voice-failed", message=why)),
            )
        speaker = Speaker(stream, translator, voice, self._lanes, self._clock, self._send, batcher, second, self._costs)
        with self._lock:
            self._speakers[stream] = speaker
        self._expect(self._costs.share)
        self.configure(
            ConfigureSpeech(
                stream=stream,
                policy=message.policy,
                parameters=message.parameters,
                source=message.source,
                target=message.target,
                glossary=message.glossary,
                voice=message.voice,
                spoken=message.spoken,
            )
        )

    def configure(self, message: ConfigureSpeech) -> None:
        """Change a speaker's settings. What isn't accepted is reported and left out."""
        speaker = self._speakers.get(message.stream)
        if speaker is not None:
            for refused in speaker.configure(message):
                self._send(Trouble(stream=message.stream, code="bad-settings", message=refused))

    def sound(self, message: SoundIn) -> None:
        """Take a block of sound; of a stream that isn't open it is dropped."""
        speaker = self._speakers.get(message.stream)
        if speaker is not None:
            speaker.sound(message)

    def look(self) -> None:
        """Flush whose sound has stopped coming; call it a few times a second."""
        with self._lock:
            speakers = list(self._speakers.values())
        for speaker in speakers:
            speaker.look()

    def close(self, stream: str) -> None:
        """End a speaker: no more sound comes. What is left is said, and then `SpeechOver` tells that it was all."""
        with self._lock:
            speaker = self._speakers.pop(stream, None)
            if speaker is None:
                return
            self._ending[stream] = speaker

        def over() -> None:
            with self._lock:
                if self._ending.get(stream) is not speaker:
                    return
                del self._ending[stream]
            self._end(speaker)
            self._send(SpeechOver(stream=stream))

        speaker.end(over)

    def _drop(self, stream: str) -> None:
        """End a speaker at once."""
        with self._lock:
            gone = [held.pop(stream) for held in (self._speakers, self._ending) if stream in held]
        for speaker in gone:
            self._end(speaker)

    def _end(self, speaker: Speaker) -> None:
        speaker.close()
        self._expect(-self._costs.share)
        self._lanes.close_stream(speaker.name)

    def cost(self) -> SpeechCost | None:
        """Return what a speaker takes while they speak; None where there is no speech."""
        return None if self._model is None else self._costs.speaker()

    def close_all(self) -> None:
        """End every speaker at once, so that no voice process is left behind."""
        with self._lock:
            streams = [*self._speakers, *self._ending]
        for stream in streams:
            self._drop(stream)


def _bytes(chunk: SpeechChunk) -> bytes:
    return np.ascontiguousarray(chunk.samples, "<f4").tobytes()
