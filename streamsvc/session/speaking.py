"""One participant's voice on its way: sound to the worker; captions, English speech and the original to a listener.

Runs on the event loop. Nothing is interpreted while nobody listens. When no worker is up the original passes at full
level and the captions say so. A replaced worker starts counting from nothing; positions and ids are moved on here, so
that the listener never sees them go back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import numpy as np

from streamsvc.budget import Clock
from streamsvc.frames import SPEECH_RATE, Samples, link
from streamsvc.ledger import Ledger, Record, Stage
from streamsvc.session.mixer import VoiceMixer
from streamsvc.session.settings import CallSettings
from streamsvc.session.taps import VoiceTap
from streamsvc.session.worker_link import WorkerLink
from streamsvc.signalling.channels import Caption, CaptionsDown, Revision, Tentative

log = logging.getLogger(__name__)

GOOD_LAG_NS = 5_000_000_000
"""A commit is good when it comes at most this long after the end of what it translates."""


class Listener(Protocol):
    """Who hears the speaker."""

    session: str
    mixer: VoiceMixer

    @property
    def hears(self) -> bool:
        """True when they take sound."""

    def caption(self, message: CaptionsDown) -> None:
        """Show a caption."""
        ...


class Speaking:
    """One speech stream."""

    def __init__(
        self,
        *,
        session: str,
        name: str,
        settings: CallSettings,
        worker: WorkerLink,
        ledger: Ledger,
        clock: Clock,
        tell: Callable[[str, str], None],
    ) -> None:
        self.stream = f"{session}/speech"
        self._listener: Listener | None = None
        self.recorded: VoiceTap | None = None
        self._session, self._name = session, name
        self._settings, self._worker, self._ledger, self._clock = settings, worker, ledger, clock
        self._tell = tell
        self._samples = 0
        self._start_ns: int | None = None
        self._end_ns = 0
        self._base_ms = 0.0
        self._base_id = self._next_id = 0
        self._base_pass = self._last_pass = 0
        self._is_open = False
        self._available = True

    @property
    def listener(self) -> Listener | None:
        """Who hears and reads the speaker."""
        return self._listener

    @listener.setter
    def listener(self, listener: Listener | None) -> None:
        first_or_last = (listener is None) != (self._listener is None)
        self._listener = listener
        if first_or_last:
            self.configure(self._settings)

    @property
    def translating(self) -> bool:
        """True while the voice is being interpreted, so that the original should stay in the background."""
        return self._settings.speech and self._is_open and self._worker.up and self._available

    def configure(self, settings: CallSettings) -> None:
        """Take the speaker's settings, at the start and in mid-call."""
        self._settings = settings
        wanted = settings.speech and self._listener is not None
        if wanted and not self._is_open:
            self._is_open = True
            self._restart()
            self._worker.open(
                link.OpenSpeech(
                    stream=self.stream,
                    policy=settings.policy,
                    parameters=settings.parameters,
                    source=settings.source,
                    target=settings.target,
                    glossary=settings.glossary,
                    voice=settings.voice,
                ),
                self._on_worker,
            )
        elif not wanted and self._is_open:
            self._is_open = False
            self._worker.close(self.stream)
        elif self._is_open:
            self._worker.configure(
                link.ConfigureSpeech(
                    stream=self.stream,
                    policy=settings.policy,
                    parameters=settings.parameters,
                    source=settings.source,
                    target=settings.target,
                    glossary=settings.glossary,
                    voice=settings.voice,
                )
            )

    def worker_state(self, up: bool) -> None:
        """Take note that the worker was lost, or that another took over."""
        if not self._is_open:
            return
        if up:
            self._restart()
        self._caption_tentative("" if up else "(translation is restarting; you hear the original)")

    def close(self) -> None:
        """End the stream; idempotent."""
        if self._is_open:
            self._is_open = False
            self._worker.close(self.stream)

    def sound(self, samples: Samples, end_ns: int) -> None:
        """Take 16 kHz mono sound; `end_ns` is the capture instant of its end on our clock."""
        if self._start_ns is None:
            self._start_ns = end_ns - len(samples) * 1_000_000_000 // SPEECH_RATE
        self._samples += len(samples)
        self._end_ns = end_ns
        if self._is_open:
            data = np.ascontiguousarray(samples, "<f4").tobytes()
            self._worker.send(link.SoundIn(stream=self.stream, samples=data, end_ns=end_ns))

    def original(self, samples: Samples, capture_ns: int) -> None:
        """Take the same sound at 48 kHz, captured from `capture_ns` on, to be heard under the translation."""
        if self.recorded is not None:
            self.recorded.original(samples, capture_ns)
        if self.listener is not None and self.listener.hears:
            own = self.listener.session == self._session
            # In a mirror room one's own voice would come back as an echo.
            self.listener.mixer.set_original_gain(0.0 if own and self.translating else 1.0)
            self.listener.mixer.original(samples)

    def _restart(self) -> None:
        self._base_ms = self._samples * 1000 / SPEECH_RATE
        self._base_id, self._base_pass = self._next_id, self._last_pass
        self._available = True

    def _caption_tentative(self, text: str) -> None:
        if self.listener is not None:
            self.listener.caption(Tentative(speaker=self._name, text=text))

    def _on_worker(self, message: link.FromWorker) -> None:
        match message:
            case link.Said():
                self._said(message)
            case link.Revised():
                if self.listener is not None:
                    ids = [self._base_id + i for i in message.ids]
                    self.listener.caption(Revision(speaker=self._name, ids=ids, text=message.text))
            case link.Maybe():
                self._caption_tentative(message.text)
            case link.SoundOut():
                spoken = np.frombuffer(message.samples, "<f4").astype(np.float32)
                if self.listener is not None and self.listener.hears:
                    self.listener.mixer.speech(spoken)
                if self.recorded is not None:
                    self.recorded.translated(spoken, self._clock.now_ns())
            case link.PassDone():
                self._passed(message)
            case link.Trouble():
                if message.code == "no-speech":
                    self._available = False
                self._tell(message.code, message.message)
            case _:
                log.warning("a speech stream was sent %s", type(message).__name__)

    def _said(self, message: link.Said) -> None:
        number = self._base_id + message.id
        self._next_id = number + 1
        if self.recorded is not None:
            start, end = self._captured(message.source_start_ms), self._captured(message.source_end_ms)
            self.recorded.words(message.text, start, end)
        if self.listener is None or self._start_ns is None:
            return
        self.listener.caption(
            Caption(
                id=number,
                speaker=self._name,
                text=message.text,
                source_start_ms=self._base_ms + message.source_start_ms,
                source_end_ms=self._base_ms + message.source_end_ms,
                wall_ms=(self._clock.now_ns() - self._start_ns) / 1e6,
            )
        )

    def _captured(self, source_ms: float) -> int:
        """Return the capture instant of a position in this worker's sound."""
        ago_ms = self._samples * 1000 / SPEECH_RATE - self._base_ms - source_ms
        return self._end_ns - round(ago_ms * 1e6)

    def _passed(self, message: link.PassDone) -> None:
        self._last_pass = self._base_pass + message.id
        now = self._clock.now_ns()
        deadline = message.source_end_ns + GOOD_LAG_NS
        session = self._session if self.listener is None else self.listener.session
        self._ledger.write(
            Record(
                kind="speech",
                session=session,
                stream=self.stream,
                id=self._last_pass,
                capture_ns=message.source_end_ns,
                deadline_ns=deadline,
                outcome="shown" if now <= deadline else "late",
                displayed_ns=now,
                stages=tuple(Stage(s.name, s.start_ns, s.end_ns) for s in message.stages),
                text=message.text,
            )
        )
