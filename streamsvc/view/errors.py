"""What may be wrong with what the view room is given."""

from __future__ import annotations

from streamsvc.errors import StreamsvcError


class ViewError(StreamsvcError):
    """A picture, camera pair, rung or file that no view can be made from: which, and what is accepted."""
