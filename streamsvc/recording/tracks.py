"""What the tracks of a recording are called, and which one to play when a recording is a source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from streamsvc.errors import StreamsvcError

VIEW, VOICE, TRANSLATION = " (view)", " (voice)", " (translation)"


class TrackError(StreamsvcError):
    """Nobody of that name is in the recording."""


class Track(Protocol):
    """A stream of an open container."""

    @property
    def index(self) -> int:
        """Its number in the file."""

    @property
    def metadata(self) -> dict[str, str]:
        """With `title`, where it has one."""


def view_of(tracks: Sequence[Track], owner: str | None) -> int | None:
    """Return the index of the track that shows `owner` (None: the first who is seen), None where it is no recording of
    ours; raises TrackError."""
    return _find(tracks, VIEW, owner)


def voice_of(tracks: Sequence[Track], owner: str | None) -> int | None:
    """Return the index of the original voice of `owner` (None: of the first who is seen, else of the first who is
    heard), as `view_of`."""
    if owner is None:
        owner = next((_title(t).removesuffix(VIEW) for t in tracks if _title(t).endswith(VIEW)), None)
    return _find(tracks, VOICE, owner)


def _find(tracks: Sequence[Track], kind: str, owner: str | None) -> int | None:
    found = {_title(t).removesuffix(kind): t.index for t in tracks if _title(t).endswith(kind)}
    if owner is None:
        return next(iter(found.values()), None)
    if owner not in found:
        raise TrackError(f"the recording has nothing of {owner!r}; it has {', '.join(found) or 'nobody'}")
    return found[owner]


def _title(track: Track) -> str:
    return track.metadata.get("title", "")
