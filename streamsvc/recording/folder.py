"""Names of recordings: safe whatever a room is called, and never those of files that are there."""

from __future__ import annotations

import os
import re
import unicodedata
from datetime import datetime
from pathlib import Path

from streamsvc.errors import StreamsvcError

MOST_CHARACTERS = 40
ATTEMPTS = 1000


class RecordingError(StreamsvcError):
    """A recording that can't be made; `code` is for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def prepare(folder: Path) -> None:
    """Make the folder when it is missing, for its owner only; raises RecordingError unless files can be made in it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as e:
        raise RecordingError("bad-folder", f"the folder for recordings {folder} can't be made: {e.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RecordingError("bad-folder", f"the folder for recordings {folder} can't be written to")


def stem_of(room: str, begun: datetime) -> str:
    """Return the name of a recording without suffix: when it began, and what is harmless of the room's name."""
    plain = unicodedata.normalize("NFKD", room).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain)[:MOST_CHARACTERS].strip("-")
    return f"{begun:%Y-%m-%dT%H%M%S}-{words or 'room'}"


def claim(folder: Path, stem: str) -> Path:
    """Make an empty file for its owner's eyes only that was not there before, and return its path.

    Raises RecordingError("write-failed")."""
    for n in range(1, ATTEMPTS):
        path = folder / (f"{stem}.mkv" if n == 1 else f"{stem}-{n}.mkv")
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        except FileExistsError:
            continue
        except OSError as e:
            raise RecordingError("write-failed", f"no file can be made for the recording: {e.strerror}") from None
        return path
    raise RecordingError("write-failed", f"there are {ATTEMPTS} recordings called {stem}")
