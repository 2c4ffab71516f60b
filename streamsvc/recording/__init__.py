"""Recordings of calls: one Matroska file each, written by a niced process of its own, that later plays as a source.

The edge hands over what it has anyway: encoded pictures as they were sent, sound, committed words, each with its
capture instant on the service's monotonic clock. Who may record whom is decided in `session`.
"""

from streamsvc.recording import items
from streamsvc.recording.folder import RecordingError, prepare, stem_of
from streamsvc.recording.process import Writer

__all__ = ["RecordingError", "Writer", "items", "prepare", "stem_of"]
