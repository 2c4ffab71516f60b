"""What a listener hears: the translation over the ducked original, 48 kHz mono.

Pure: sound is pushed in, `read` pulls sound out at the listener's pace. Promises: speech is never reordered, nor
dropped but by `skip`; the original is never more than `ORIGINAL_LIMIT` behind, and is gathered to `ORIGINAL_PREBUFFER`
before it (re)starts, so that packets with jitter are not heard as holes; gain changes are ramps, so nothing clicks.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from streamsvc.frames import OUTPUT_RATE, Samples

DUCKED = 10 ** (-20 / 20)
ATTACK_S, RELEASE_S = 0.05, 0.5
ORIGINAL_LIMIT = OUTPUT_RATE * 120 // 1000
ORIGINAL_TARGET = OUTPUT_RATE * 40 // 1000
ORIGINAL_PREBUFFER = OUTPUT_RATE * 30 // 1000


class Fifo:
    """Samples in, samples out, in order."""

    def __init__(self) -> None:
        self._blocks: deque[Samples] = deque()
        self.length = 0

    def push(self, samples: Samples) -> None:
        """Append samples, (n,) float32."""
        if len(samples):
            self._blocks.append(samples)
            self.length += len(samples)

    def pull(self, count: int) -> Samples:
        """Return up to `count` samples from the front."""
        taken = []
        while count and self._blocks:
            block = self._blocks.popleft()
            if len(block) > count:
                self._blocks.appendleft(block[count:])
                block = block[:count]
            taken.append(block)
            count -= len(block)
            self.length -= len(block)
        return np.concatenate(taken) if taken else np.zeros(0, np.float32)


class VoiceMixer:
    """One listener's mix. `original_gain` is what the original has while nothing is being translated."""

    def __init__(self, original_gain: float = 1.0) -> None:
        self._original_gain = original_gain
        self._gain = original_gain
        self._original, self._speech = Fifo(), Fifo()
        self._gathering = True

    def set_original_gain(self, gain: float) -> None:
        """Change the level of the undisturbed original; the change is ramped."""
        self._original_gain = gain

    def original(self, samples: Samples) -> None:
        """Take the speaker's own voice, (n,) float32 at 48 kHz."""
        self._original.push(samples)
        if self._original.length > ORIGINAL_LIMIT:
            self._original.pull(self._original.length - ORIGINAL_TARGET)

    def speech(self, samples: Samples) -> None:
        """Take synthesised speech, (n,) float32 at 48 kHz."""
        self._speech.push(samples)

    def skip(self) -> None:
        """Leave out what waits: it was said while nobody listened."""
        self._original, self._speech = Fifo(), Fifo()

    def read(self, count: int) -> Samples:
        """Return the next `count` samples of the mix, silence where there is nothing."""
        speech = self._speech.pull(count)
        target = self._original_gain * (DUCKED if len(speech) else 1.0)
        step = count / OUTPUT_RATE / (ATTACK_S if target < self._gain else RELEASE_S)
        gain = self._gain + float(np.clip(target - self._gain, -step, step))
        original = self._pull_original(count)
        out = np.zeros(count, np.float32)
        ramp = np.linspace(self._gain, gain, count, endpoint=False, dtype=np.float32)
        out[: len(original)] = original * ramp[: len(original)]
        out[: len(speech)] += speech
        self._gain = gain
        return np.clip(out, -1.0, 1.0, out=out)

    def _pull_original(self, count: int) -> Samples:
        """Return what may be heard of the original now, up to `count` samples; fewer are an underrun."""
        if self._gathering and self._original.length < ORIGINAL_PREBUFFER:
            return np.zeros(0, np.float32)
        original = self._original.pull(count)
        self._gathering = len(original) < count
        return original

    @property
    def waiting_s(self) -> float:
        """Seconds of speech that wait to be heard."""
        return self._speech.length / OUTPUT_RATE
