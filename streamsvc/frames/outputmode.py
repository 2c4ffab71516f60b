"""How a picture carries the views of its moment: one, a pair, an anaglyph, a quilt, or one beside its depth. Pure.

Edge and worker both read the wire's text form through `parse_mode`: `window`, `stereo`, `anaglyph`, `packed`, `cutout`,
`quilt`, `quilt:COLUMNSxROWS` or `quilt:COLUMNSxROWS:DEGREES`. In every mode the width and height that a viewer asks for
are those of one view through the window; `picture_size` says what the picture is then. What lies where:

- `stereo`: full-width side by side, the left eye's view on the left: twice the width.
- `anaglyph`: both eyes in one picture for red (left) and cyan (right) glasses.
- `quilt`: tiles from the leftmost view to the rightmost, the first at the bottom left, row by row upwards (the order of
  Looking Glass displays, `qs<columns>x<rows>`).
- `packed`: the view through a window wider by `PACKED_MARGIN` on every side; below it, as wide and half as high, its
  inverse depth.
- `cutout`: the person alone; below them, as wide and half as high, how much of each pixel is the person.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from streamsvc.errors import StreamsvcError

PACKED_MARGIN = 1 / 16
"""What the packed view shows beyond each side of the window, as a part of the window's width or height: a head that
moves 5 cm in 100 ms shifts what is twice as far away as the screen by less."""

MAX_QUILT_SIDE = 16
MAX_QUILT_VIEWS = 72
MAX_CONE_DEGREES = 120.0
ACCEPTED = "window, stereo, anaglyph, packed, cutout, quilt, quilt:COLUMNSxROWS or quilt:COLUMNSxROWS:DEGREES"
_QUILT = re.compile(r"quilt(?::(\d{1,2})x(\d{1,2})(?::(\d{1,3}(?:\.\d{1,3})?))?)?", re.ASCII)


class ModeError(StreamsvcError):
    """An output mode that isn't known, or one whose picture can't be made."""

    code = "bad-mode"


@dataclass(frozen=True, slots=True)
class OutputMode:
    """`kind` is window, stereo, anaglyph, quilt, packed or cutout; the rest is the quilt's: its tiles, and the angle
    between its outermost views as seen from the screen's centre."""

    kind: str
    columns: int = 1
    rows: int = 1
    cone_degrees: float = 0.0

    @property
    def views(self) -> int:
        """How many views one picture takes."""
        return 2 if self.kind in ("stereo", "anaglyph") else self.columns * self.rows

    def view_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the size of each view that is rendered for a window of `width` x `height` pixels."""
        if self.kind not in ("packed", "cutout"):
            return width, height
        # Whole pixels of chroma above and below the line between picture and depth or matte.
        wide = 1 + 2 * PACKED_MARGIN if self.kind == "packed" else 1
        return 2 * round(width * wide / 2), 4 * round(height * wide / 4)

    def picture_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the size of the whole picture."""
        w, h = self.view_size(width, height)
        match self.kind:
            case "stereo":
                return 2 * w, h
            case "quilt":
                return self.columns * w, self.rows * h
            case "packed" | "cutout":
                return w, h + h // 2
            case _:
                return w, h


WINDOW = OutputMode("window")
QUILT = OutputMode("quilt", 4, 2, 40.0)
"""The quilt that is meant when none is described."""


def parse_mode(text: str) -> OutputMode:
    """Return the mode that `text` names; raises ModeError that says what is accepted."""
    if text in ("window", "stereo", "anaglyph", "packed", "cutout"):
        return OutputMode(text)
    found = _QUILT.fullmatch(text)
    if found is None:
        raise ModeError(f"no output mode is called {text[:40]!r}; there are {ACCEPTED}")
    if found[1] is None:
        return QUILT
    columns, rows = int(found[1]), int(found[2])
    cone = QUILT.cone_degrees if found[3] is None else float(found[3])
    if not (1 <= columns <= MAX_QUILT_SIDE and 1 <= rows <= MAX_QUILT_SIDE and columns * rows <= MAX_QUILT_VIEWS):
        raise ModeError(f"a quilt has 1 to {MAX_QUILT_SIDE} columns and rows, at most {MAX_QUILT_VIEWS} views")
    if not 0 < cone <= MAX_CONE_DEGREES:
        raise ModeError(f"a quilt's views spread over more than 0 and at most {MAX_CONE_DEGREES:.0f} degrees")
    return OutputMode("quilt", columns, rows, cone)
