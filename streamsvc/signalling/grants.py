"""What a token allows beside a room and a time: only to watch, so many cameras, so large a view, these languages. Pure.

Settings that nobody chose are put within what is allowed; what was asked for beyond it is refused in words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec

from streamsvc.signalling.messages import Configure, Join, SignallingError, SpeechSettings, ViewSettings

Settings = TypeVar("Settings", Join, Configure)
Language = Annotated[str, msgspec.Meta(max_length=8)]
USUAL = (640, 480)
SHAPE = (4, 3)
SEVERAL = ("stereo", "quilt")
"""Output modes whose picture holds several views; see `frames.outputmode`."""


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a token says: it opens `room` (None: every room) until the Unix time `until`, in seconds. With `watch` its
    bearer sends neither pictures nor sound; `cameras` at most are sent; a view has at most so many `pixels`; only these
    `languages` are interpreted. None: as many, as large, any."""

    until: float
    room: str | None = None
    watch: bool = False
    cameras: Annotated[int, msgspec.Meta(ge=0, le=16)] | None = None
    pixels: Annotated[int, msgspec.Meta(ge=64 * 64, le=2048 * 2048)] | None = None
    languages: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=8)], ...], msgspec.Meta(min_length=1)] | None = (
        None
    )

    @property
    def limited(self) -> bool:
        """Whether it allows less than its room and its time."""
        return self.watch or any(x is not None for x in (self.cameras, self.pixels, self.languages))

    def settings(self, message: Settings, *, first: bool) -> Settings:
        """Return the message with settings that are allowed; `first` where what isn't said is the service's own
        choice. Raises SignallingError("not-allowed")."""
        if not self.limited:
            return message
        view, speech = self._view(message.view, first), self._speech(message.speech, first)
        return msgspec.structs.replace(message, view=view, speech=speech)

    def sending(self, sections: Mapping[str, int]) -> None:
        """Return when an offer that sends on so many `sections` of each kind ("audio", "video") is allowed; raises
        SignallingError("not-allowed")."""
        if self.watch and any(sections.values()):
            raise _not_allowed("only to watch and listen: send neither pictures nor sound")
        cameras = sections.get("video", 0)
        if self.cameras is not None and cameras > self.cameras:
            raise _not_allowed(f"at most {self.cameras} cameras, not {cameras}")

    def _view(self, view: ViewSettings, first: bool) -> ViewSettings:
        if self.pixels is None:
            return view
        if view.mode is not None and view.mode.partition(":")[0] in SEVERAL:
            raise _not_allowed(f"one view of at most {self.pixels} pixels, not {view.mode}")
        width, height = view.width, view.height
        if width is None and height is None:
            if not first:
                return view
            return msgspec.structs.replace(view, **dict(zip(("width", "height"), _fitted(self.pixels), strict=True)))
        if width is None or height is None:
            raise _not_allowed("width and height of the view together")
        if width * height > self.pixels:
            raise _not_allowed(f"a view of at most {self.pixels} pixels, not {width}x{height}")
        return view

    def _speech(self, speech: SpeechSettings, first: bool) -> SpeechSettings:
        if self.languages is None or (speech.source is None and not first):
            return speech
        if speech.source is None:
            return msgspec.structs.replace(speech, source=self.languages[0])
        if speech.source not in self.languages:
            raise _not_allowed(f"speech in {', '.join(self.languages)}, not {speech.source}")
        return speech


def _fitted(pixels: int) -> tuple[int, int]:
    """Return the usual size, or the largest of its shape, in even numbers of 64 at least, that has so few pixels."""
    if USUAL[0] * USUAL[1] <= pixels:
        return USUAL
    unit = math.sqrt(pixels / (SHAPE[0] * SHAPE[1]))
    height = max(64, int(SHAPE[1] * unit) // 2 * 2)
    return min(int(SHAPE[0] * unit), pixels // height) // 2 * 2, height


def _not_allowed(what: str) -> SignallingError:
    return SignallingError("not-allowed", f"this token allows {what}; ask whoever gave it to you for another")
