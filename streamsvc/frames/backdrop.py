"""What is seen behind a person instead of their room. Pure: edge and worker both read the wire's text form here.

A backdrop is the choice of whoever is shown, for it is their room. It is kept or nothing is shown: what can't tell the
person from the room raises a `BackdropError`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from streamsvc.errors import StreamsvcError
from streamsvc.frames.picture import Pixels

NAMED = "room, blur or #rrggbb"
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}", re.ASCII)


class BackdropError(StreamsvcError):
    """A backdrop that isn't known, or one that can't be shown here."""

    code = "bad-backdrop"


@dataclass(frozen=True, slots=True, eq=False)
class Backdrop:
    """`kind` is room (the view as it is), blur (the room, blurred), colour (`colour`, R, G, B), image (`picture`,
    (h, w, 3) uint8, cut to the view's shape) or transparent (the view gets an alpha channel)."""

    kind: str
    colour: tuple[int, int, int] = (0, 0, 0)
    picture: Pixels | None = None

    @property
    def hides(self) -> bool:
        """True unless the room is shown as it is."""
        return self.kind != "room"


ROOM = Backdrop("room")


def parse_backdrop(text: str) -> Backdrop:
    """Return the backdrop that the wire calls `text`, "room", "blur" or "#rrggbb"; raises BackdropError."""
    if text in ("room", "blur"):
        return Backdrop(text)
    if _COLOUR.fullmatch(text):
        red, green, blue = bytes.fromhex(text[1:])
        return Backdrop("colour", (red, green, blue))
    raise BackdropError(f"no backdrop is called {text[:40]!r}; there are {NAMED}")
