"""`voice=auto`: of the installed voices the one whose pitch is nearest to the speaker's, chosen once in a call.

The first words are spoken in the voice that is nearest by what was heard until then; when enough was heard it is
decided for good, and the voice of the first words stays unless another is nearer by more than `STAY` semitones. The
voices' own pitch is measured once, on what they say, and kept in the cache.
"""

from __future__ import annotations

import json
import logging
import math
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from streamsvc.cache import cache_dir
from streamsvc.frames.audio import OUTPUT_RATE, SPEECH_RATE, Samples
from streamsvc.speech.errors import VoiceError
from streamsvc.speech.pitch import PitchMeter, fundamentals
from streamsvc.speech.voice.engine import Engine

log = logging.getLogger(__name__)

STAY = 3.0
SAID = "We will meet again on Thursday at half past three. Please leave a message after the tone."
"""What a voice says to be measured."""


def choose(hz: float, pitches: Mapping[str, float], current: str | None) -> str:
    """Return the name of the voice for a speaker of `hz`; `pitches` are the voices' in Hz, `current` speaks now."""

    def away(name: str) -> float:
        return abs(12 * math.log2(pitches[name] / hz))

    nearest = min(pitches, key=away)
    return current if current is not None and away(current) - away(nearest) <= STAY else nearest


def pitch_of(engine: Engine) -> float:
    """Return the median pitch of a voice in Hz; raises VoiceError when it can't speak."""
    speech = np.concatenate([np.zeros(0, np.float32), *engine.synthesise(SAID, 1.0)])
    step = OUTPUT_RATE // SPEECH_RATE
    found = fundamentals(speech[: len(speech) // step * step].reshape(-1, step).mean(axis=1))
    if np.isnan(found).all():
        raise VoiceError("a voice says nothing that is voiced; choose one by name")
    return float(np.nanmedian(found))


class VoiceSet:
    """Voices by name, the first for speakers of whom nothing is known yet; several calls may share them."""

    def __init__(self, engines: Mapping[str, Engine], known: Path | None = None) -> None:
        self.engines = dict(engines)
        self.pitches: dict[str, float] = {}
        self._known = known or cache_dir() / "voices" / "pitch.json"

    def start(self) -> None:
        """Start every voice and measure what isn't known yet; raises VoiceError, and then none runs."""
        try:
            for engine in self.engines.values():
                engine.start()
            self.pitches = self._measured()
        except VoiceError:
            self.close()
            raise

    def _measured(self) -> dict[str, float]:
        known = read_pitches(self._known)
        if new := self.engines.keys() - known.keys():
            log.info("measuring the pitch of %d voices, once", len(new))
        pitches = {n: known[n] if n in known else round(pitch_of(e), 1) for n, e in self.engines.items()}
        if new:
            self._keep(known | pitches)
        return pitches

    def _keep(self, pitches: Mapping[str, float]) -> None:
        try:
            self._known.parent.mkdir(parents=True, exist_ok=True)
            written = self._known.with_suffix(f".{os.getpid()}")
            written.write_text(json.dumps(pitches, indent=1) + "\n", "utf-8")
            written.replace(self._known)
        except OSError as e:
            # It costs some seconds at every start, but no voice.
            log.warning(
                "the pitch of the voices can't be kept in %s (%s); it is measured anew", self._known, e.strerror
            )

    def matched(self) -> MatchedVoice:
        """Return the voice of one call."""
        return MatchedVoice(self)

    def close(self) -> None:
        """End every voice."""
        for engine in self.engines.values():
            engine.close()


def read_pitches(path: Path) -> dict[str, float]:
    """Return the pitches that were kept, in Hz; raises VoiceError when the file isn't one of ours."""
    if not path.is_file():
        return {}
    try:
        return {str(name): float(hz) for name, hz in json.loads(path.read_text("utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError) as e:
        raise VoiceError(f"{path} can't be read ({e}); delete it and the voices are measured again") from None


class MatchedVoice:
    """The Engine of one call: hears the speaker (`hear`, from any thread) and speaks in the voice that is chosen."""

    def __init__(self, voices: VoiceSet) -> None:
        self._voices = voices
        self._meter = PitchMeter()
        self._lock = threading.Lock()
        self._name: str | None = None
        self._chosen: str | None = None
        self._settled = False

    def hear(self, samples: Samples) -> None:
        """Take the speaker's sound, (n,) float32 16 kHz mono."""
        with self._lock:
            self._meter.feed(samples)

    def choose(self, name: str) -> None:
        """Speak in the voice of that name from now on; one that isn't of the set, like `auto`, is matched again."""
        with self._lock:
            self._chosen = name if name in self._voices.engines else None

    @property
    def name(self) -> str | None:
        """The voice that speaks; None before its first words."""
        return self._name

    def start(self) -> None:
        """See Engine."""
        if not self._voices.pitches:
            self._voices.start()

    def synthesise(self, text: str, rate: float) -> Iterator[Samples]:
        """See Engine."""
        self.start()
        return self._voices.engines[self._choice()].synthesise(text, rate)

    def close(self) -> None:
        """See Engine: ends every voice of the set."""
        self._voices.close()

    def _choice(self) -> str:
        with self._lock:
            if self._chosen is not None:
                self._name, self._settled = self._chosen, False
                return self._name
            hz = self._meter.hz
            if not self._settled and hz is not None and (self._name is None or self._meter.complete):
                self._name = choose(hz, self._voices.pitches, self._name)
                self._settled = self._meter.complete
            self._name = self._name or next(iter(self._voices.engines))
            return self._name
