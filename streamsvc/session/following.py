"""What became of the frame sets that a viewer is due, for a viewer who asks. Pure.

Owns the number of the last record that was told, and nothing else: what waits to be told is in the window of the
`LiveBoard`, which is bounded and goes when the session ends.
"""

from __future__ import annotations

from streamsvc.ledger import Record
from streamsvc.ledger.live import LiveBoard
from streamsvc.signalling import messages as wire


class Following:
    """What one viewer is told; nothing until they ask."""

    def __init__(self, session: str, board: LiveBoard) -> None:
        self._session, self._board = session, board
        self._told: int | None = None

    def ask(self, message: wire.Follow) -> None:
        """Tell what is closed from now on, or no longer; who asks again changes nothing."""
        if not message.frames:
            self._told = None
        elif self._told is None:
            self._told, _ = self._board.since(self._session, 0)

    def news(self) -> list[wire.Frames]:
        """Return what was closed since the last call, each frame set once."""
        if self._told is None:
            return []
        self._told, records = self._board.since(self._session, self._told)
        return wire.in_messages(_trace(r) for r in records if r.kind == "view")


def _trace(record: Record) -> wire.FrameTrace:
    return wire.FrameTrace(
        capture_ns=record.capture_ns,
        displayed_ns=record.displayed_ns,
        deadline_ns=record.deadline_ns,
        clock_error_ns=record.clock_error_ns,
        outcome=record.outcome,
        reason=record.reason,
        rung=record.rung,
        cameras=record.cameras,
        stages=[(s.name, s.start_ns, s.end_ns) for s in record.stages],
    )
