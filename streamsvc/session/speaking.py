"""One participant's voice on its way: sound to the worker; captions, English speech and the original to a listener.

Runs on the event loop. Nothing is interpreted while nobody listens. When no worker is up the original passes at full
level and the captions say so. Every opening is a stream of its own in the worker, because the last words of one may
come when the next is open; like a replaced worker it counts from nothing. Ids are given anew here, and times are those
of capture, so that the listener never sees them go back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np

from streamsvc.budget import Clock
from streamsvc.frames import SPEECH_RATE, Samples, link
from streamsvc.ledger import Ledger, Outcome, Record, Stage
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
    """One participant's speech."""

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
        self.stream: str | None = None
        """What is open in the worker."""
        self._listener: Listener | None = None
        self._recorded: VoiceTap | None = None
        self._session, self._name = session, name
        self._settings, self._worker, self._ledger, self._clock = settings, worker, ledger, clock
        self._tell = tell
        self._start_ns: int | None = None
        self._told_ns = 0
        self._openings = self._next_id = self._next_pass = 0
        self._numbers: dict[int, int] = {}
        self._spoken = self._closed = False
        self._available = True

    @property
    def listener(self) -> Listener | None:
        """Who hears and reads the speaker."""
        return self._listener

    @listener.setter
    def listener(self, listener: Listener | None) -> None:
        self._listener = listener
        self._listened()

    @property
    def recorded(self) -> VoiceTap | None:
        """Where what is heard and read goes as well."""
        return self._recorded

    @recorded.setter
    def recorded(self, tap: VoiceTap | None) -> None:
        self._recorded = tap
        self._listened()

    @property
    def translating(self) -> bool:
        """True while the voice is being interpreted, so that the original should stay in the background."""
        return self._settings.speech and self.stream is not None and self._worker.up and self._available

    def configure(self, settings: CallSettings) -> None:
        """Take the speaker's settings, at the start and in mid-call."""
        self._settings = settings
        wanted = settings.speech and self._listener is not None and not self._closed
        self._spoken = self._is_heard
        if not wanted:
            self._end()
        elif self.stream is None:
            self._openings += 1
            self.stream = f"{self._session}/speech/{self._openings}"
            self._numbers = {}
            self._available = True
            self._worker.open(
                link.OpenSpeech(
                    stream=self.stream,
                    policy=settings.policy,
                    parameters=settings.parameters,
                    source=settings.source,
                    target=settings.target,
                    glossary=settings.glossary,
                    voice=settings.voice,
                    spoken=self._spoken,
                ),
                partial(self._on_worker, self._numbers),
            )
        else:
            self._worker.configure(
                link.ConfigureSpeech(
                    stream=self.stream,
                    policy=settings.policy,
                    parameters=settings.parameters,
                    source=settings.source,
                    target=settings.target,
                    glossary=settings.glossary,
                    voice=settings.voice,
                    spoken=self._spoken,
                )
            )

    def worker_state(self, up: bool) -> None:
        """Take note that the worker was lost, or that another took over."""
        if self.stream is None:
            return
        if up:
            self._numbers.clear()
            self._available = True
        self._caption_tentative("" if up else "(translation is restarting; you hear the original)")

    def close(self) -> None:
        """The participant has gone; idempotent. What they said last still comes."""
        self._closed = True
        self._end()

    def sound(self, samples: Samples, end_ns: int) -> None:
        """Take 16 kHz mono sound; `end_ns` is the capture instant of its end on our clock."""
        if self._start_ns is None:
            self._start_ns = self._told_ns = end_ns - len(samples) * 1_000_000_000 // SPEECH_RATE
        if self.stream is not None:
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

    def _end(self) -> None:
        if self.stream is not None:
            stream, self.stream = self.stream, None
            self._worker.close(stream)

    @property
    def _is_heard(self) -> bool:
        return self._recorded is not None or (self._listener is not None and self._listener.hears)

    def _listened(self) -> None:
        """See what it means that another listens, or that somebody records."""
        if (self.stream is None) == (self._listener is not None) or self._is_heard != self._spoken:
            self.configure(self._settings)

    def _caption_tentative(self, text: str) -> None:
        if self.listener is not None:
            self.listener.caption(Tentative(speaker=self._name, text=text))

    def _on_worker(self, numbers: dict[int, int], message: link.FromWorker) -> None:
        """Take what came of one opening; `numbers` are the ids that its commits were given here."""
        match message:
            case link.Said():
                numbers[message.id] = self._next_id
                self._next_id += 1
                self._said(numbers[message.id], message)
            case link.Revised():
                if self.listener is not None:
                    ids = [numbers[i] for i in message.ids]
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

    def _said(self, number: int, message: link.Said) -> None:
        if self.recorded is not None:
            self.recorded.words(message.text, message.start_ns, message.end_ns)
        if self.listener is None or self._start_ns is None:
            return
        # A sender's clock that is estimated anew may put words before those that were said.
        start_ns = max(message.start_ns, self._told_ns)
        self._told_ns = max(message.end_ns, start_ns)
        self.listener.caption(
            Caption(
                id=number,
                speaker=self._name,
                text=message.text,
                source_start_ms=(start_ns - self._start_ns) / 1e6,
                source_end_ms=(self._told_ns - self._start_ns) / 1e6,
                wall_ms=(self._clock.now_ns() - self._start_ns) / 1e6,
            )
        )

    def _passed(self, message: link.PassDone) -> None:
        self._next_pass += 1
        now = self._clock.now_ns()
        deadline = message.source_end_ns + GOOD_LAG_NS
        lost = message.reason is not None
        outcome: Outcome = "dropped" if lost else "shown" if now <= deadline else "late"
        session = self._session if self.listener is None else self.listener.session
        self._ledger.write(
            Record(
                kind="speech",
                session=session,
                stream=f"{self._session}/speech",
                id=self._next_pass,
                capture_ns=message.source_end_ns,
                deadline_ns=deadline,
                outcome=outcome,
                reason=message.reason,
                displayed_ns=None if lost else now,
                stages=tuple(Stage(s.name, s.start_ns, s.end_ns) for s in message.stages),
                text=message.text,
            )
        )
