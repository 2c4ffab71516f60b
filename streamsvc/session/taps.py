"""What of a call goes into its recording: encoded views, voices and words, with their capture instants on our clock.

On the event loop; nothing here waits, and what the writer can't take is its business.
"""

from __future__ import annotations

import numpy as np

from streamsvc.edge import EncodedPicture
from streamsvc.frames import OUTPUT_RATE, Samples
from streamsvc.recording import Writer, items

KEYFRAME_NS = 20_000_000_000
"""From one keyframe to the next at most: nobody can wind a film to anywhere else."""


class ViewTap:
    """What others see of one owner; call it with everything that is sent to them."""

    def __init__(self, writer: Writer, owner: int, start_ns: int) -> None:
        self._writer, self._owner = writer, owner
        self._keyframe_ns = start_ns

    def __call__(self, picture: EncodedPicture, capture_ns: int) -> bool:
        """Record a picture; return whether the next has to be a keyframe."""
        if picture.keyframe:
            self._keyframe_ns = capture_ns
        taken = self._writer.picture(
            items.Picture(
                owner=self._owner,
                codec=picture.codec,
                keyframe=picture.keyframe,
                width=picture.width,
                height=picture.height,
                at_ns=capture_ns,
                data=picture.data,
            )
        )
        return not taken or capture_ns - self._keyframe_ns > KEYFRAME_NS


class VoiceTap:
    """What others hear and read of one owner."""

    def __init__(self, writer: Writer, owner: int, start_ns: int) -> None:
        self._writer, self._owner, self._start_ns = writer, owner, start_ns
        self._translated_ns = start_ns

    def original(self, samples: Samples, capture_ns: int) -> None:
        """Record the voice, (n,) float32 at 48 kHz, sample 0 captured at `capture_ns`."""
        self._sound(samples, capture_ns, translated=False)

    def translated(self, samples: Samples, now_ns: int) -> None:
        """Record what the interpreter says, (n,) float32 at 48 kHz: it is heard from now on, or after what it said
        before."""
        at_ns = max(now_ns, self._translated_ns)
        self._translated_ns = at_ns + len(samples) * 1_000_000_000 // OUTPUT_RATE
        self._sound(samples, at_ns, translated=True)

    def words(self, text: str, start_ns: int, end_ns: int) -> None:
        """Record committed words, spoken from `start_ns` to `end_ns`, unless they began before the recording."""
        if start_ns >= self._start_ns:
            self._writer.send(items.Words(owner=self._owner, text=text, start_ns=start_ns, end_ns=end_ns))

    def _sound(self, samples: Samples, at_ns: int, *, translated: bool) -> None:
        whole = (np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes()
        self._writer.send(items.Sound(owner=self._owner, translated=translated, at_ns=at_ns, samples=whole))
