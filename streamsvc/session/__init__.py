"""One call, edge side: tracks -> frame sets -> ring -> tracks. Knows no net."""

from streamsvc.session.hub import CallHub

__all__ = ["CallHub"]
