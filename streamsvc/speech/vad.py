"""Voice activity: Silero's streaming ONNX model (inside faster-whisper), and phrases made of its probabilities.

`VoiceActivity` turns samples into one probability per 32 ms; `PhraseTracker` is pure and turns these into phrases.
Silence costs 63 us per 32 ms and no decode. Positions are samples since the stream began, at 16 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from streamsvc.frames.audio import SPEECH_RATE, Samples
from streamsvc.speech.errors import SpeechError

CHUNK = 512
_CONTEXT = 64
ONSET = 0.5
OFFSET = 0.35
ONSET_CHUNKS = 3
PREROLL = int(0.3 * SPEECH_RATE)
TAIL = int(0.2 * SPEECH_RATE)


class Detector(Protocol):
    """Anything that says how likely each 512-sample chunk is speech."""

    def feed(self, samples: Samples) -> list[float]:
        """Take (n,) float32 16 kHz mono; return a probability for each chunk that is complete now."""
        ...


class VoiceActivity:
    """Silero, streaming, one thread. Raises SpeechError when faster-whisper isn't installed."""

    def __init__(self) -> None:
        try:
            from faster_whisper.vad import get_vad_model
        except ImportError as e:
            raise SpeechError(f"{e.name} isn't installed; install the extra: pip install 'streamsvc[speech]'") from None
        self._session: Any = get_vad_model().session
        self._h = np.zeros((1, 1, 128), np.float32)
        self._c = np.zeros((1, 1, 128), np.float32)
        self._context = np.zeros(_CONTEXT, np.float32)
        self._rest = np.zeros(0, np.float32)

    def feed(self, samples: Samples) -> list[float]:
        """See Detector."""
        audio = np.concatenate([self._rest, samples])
        count = len(audio) // CHUNK
        self._rest = audio[count * CHUNK :]
        if not count:
            return []
        chunks = audio[: count * CHUNK].reshape(count, CHUNK)
        contexts = np.vstack([self._context[None], chunks[:-1, -_CONTEXT:]])
        self._context = chunks[-1, -_CONTEXT:].copy()
        output, self._h, self._c = self._session.run(
            None, {"input": np.hstack([contexts, chunks]), "h": self._h, "c": self._c}
        )
        return [float(p) for p in np.ravel(output)]


@dataclass(slots=True)
class Phrase:
    """A stretch of speech: `start` includes 0.3 s before the onset, `speech_end` follows the last voiced chunk, `end`
    is set once the phrase is over. It `continues` the one before where that was cut in running speech."""

    start: int
    speech_end: int
    end: int | None = None
    continues: bool = False
    quiet: list[float] = field(default_factory=list)
    """Speech probability of every chunk since `quiet_from`: where a long phrase is best split."""
    quiet_from: int = 0

    def forget(self, position: int) -> None:
        """Forget how quiet it was before `position`."""
        chunks = max((position - self.quiet_from) // CHUNK, 0)
        del self.quiet[:chunks]
        self.quiet_from += chunks * CHUNK


class PhraseTracker:
    """Speech begins after three chunks at 0.5 or more; a phrase ends after `timeout_s` of chunks under 0.35."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._position = 0
        self._floor = 0
        self._cut: int | None = None
        self._run = 0
        self._open: Phrase | None = None

    def push(self, probability: float) -> Phrase | None:
        """Take one chunk; return a phrase that began with it. An open phrase is updated in place."""
        start, self._position = self._position, self._position + CHUNK
        if self._open is None:
            self._run = self._run + 1 if probability >= ONSET else 0
            if self._run < ONSET_CHUNKS:
                return None
            onset = self._position - self._run * CHUNK
            start = max(onset - PREROLL, self._floor)
            phrase = Phrase(start, self._position, continues=start == self._cut, quiet_from=onset)
            phrase.quiet = [1.0] * self._run
            self._open = phrase
            return phrase
        phrase = self._open
        phrase.quiet.append(probability)
        if probability >= OFFSET:
            phrase.speech_end = self._position
        elif start + CHUNK - phrase.speech_end >= self.timeout_s * SPEECH_RATE:
            self.close(self._position)
        return None

    def close(self, position: int) -> bool:
        """End the open phrase, if any, at `position` at the latest; return whether there was one."""
        self._run = 0
        phrase, self._open = self._open, None
        if phrase is None:
            return False
        phrase.end = self._floor = min(phrase.speech_end + TAIL, position)
        self._cut = position if phrase.end == position else None
        return True

    def split(self, phrase: Phrase, position: int) -> Phrase:
        """End `phrase` at `position` and return what follows as a phrase of its own, open if `phrase` was."""
        speech_end = max(phrase.speech_end, position)
        rest = Phrase(position, speech_end, phrase.end, True, phrase.quiet.copy(), phrase.quiet_from)
        rest.forget(position)
        phrase.end = position
        phrase.speech_end = min(phrase.speech_end, position)
        if self._open is phrase:
            self._open = rest
        return rest


def quietest(phrase: Phrase, earliest: int, latest: int, otherwise: int) -> int:
    """Return where between two positions a phrase is best split: the middle of the lowest three-chunk probability, or
    `otherwise` where nothing there is a dip in the voice."""
    if latest <= earliest or len(phrase.quiet) < 3:
        return otherwise
    smooth = np.convolve(phrase.quiet, np.ones(3) / 3, "same")
    centres = phrase.quiet_from + (np.arange(len(smooth)) + 0.5) * CHUNK
    inside = np.flatnonzero((centres >= earliest) & (centres <= latest))
    if not len(inside) or smooth[inside].min() >= ONSET:
        return otherwise
    return int(centres[inside[np.argmin(smooth[inside])]])
