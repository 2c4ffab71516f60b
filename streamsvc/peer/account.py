"""What a peer captured, saw, read and was told, on the server's clock as far as that is known. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from streamsvc.edge import capture_ns_of
from streamsvc.frames.clockmap import ClockEstimator
from streamsvc.peer.options import KEPT, PeerFigures
from streamsvc.signalling import channels

SHOWN_AT_ONCE = 64


class Account:
    """Keeps the latest `KEPT` of everything, or all; times that come in are ns on this host's monotonic clock."""

    def __init__(self, *, keep_all: bool) -> None:
        kept = None if keep_all else KEPT
        self.clock = ClockEstimator()
        self._captures: deque[int] = deque(maxlen=kept)
        self._views: deque[tuple[int, int]] = deque(maxlen=kept)
        self._captions: deque[channels.Caption] = deque(maxlen=kept)
        self._notices: deque[str] = deque(maxlen=kept)
        self._captured = self._viewed = self._captioned = 0
        self._unreported: list[tuple[int, int]] = []

    @property
    def figures(self) -> PeerFigures:
        """What happened so far."""
        best = self.clock.map
        return PeerFigures(
            captures=[] if best is None else [best.to_ours(t) for t in self._captures],
            views=list(self._views),
            captions=list(self._captions),
            clock_error_ns=None if best is None else best.error_ns,
            notices=list(self._notices),
            captured=self._captured,
            viewed=self._viewed,
            captioned=self._captioned,
        )

    def captured(self, capture_ns: int) -> None:
        """The cameras saw something."""
        self._captured += 1
        self._captures.append(capture_ns)

    def viewed(self, rtp_timestamp: int, now_ns: int) -> None:
        """A view with this timestamp was decoded; one that comes before the server's clock is known doesn't count."""
        best = self.clock.map
        if best is None:
            return
        displayed = best.to_ours(now_ns)
        self._viewed += 1
        self._views.append((capture_ns_of(rtp_timestamp, displayed), displayed))
        self._unreported.append((rtp_timestamp, displayed))

    def captioned(self, caption: channels.Caption) -> None:
        """Words were committed."""
        self._captioned += 1
        self._captions.append(caption)

    def noticed(self, code: str, message: str) -> None:
        """Something was told to whoever takes part."""
        self._notices.append(f"{code}: {message}")

    def reports(self) -> Iterator[channels.Shown]:
        """Yield what the server is to be told of the views since the last time."""
        best = self.clock.map
        while self._unreported and best is not None:
            batch, self._unreported = self._unreported[:SHOWN_AT_ONCE], self._unreported[SHOWN_AT_ONCE:]
            yield channels.Shown(frames=batch, error_ns=best.error_ns)
