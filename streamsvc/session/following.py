"""What became of the frame sets that a viewer is due, and of the speech that they hear, for a viewer who asks. Pure.

Owns what was asked and the number of the last record that was told, and nothing else: what waits to be told is in the
window of the `LiveBoard`, which is bounded and goes when the session ends.
"""

from __future__ import annotations

from streamsvc.ledger import Record
from streamsvc.ledger.live import LiveBoard
from streamsvc.signalling import channels


class Following:
    """What one viewer is told; nothing until they ask."""

    def __init__(self, session: str, board: LiveBoard) -> None:
        self._session, self._board = session, board
        self._asked = channels.Follow(frames=False)
        self._told: int | None = None

    def ask(self, message: channels.Follow) -> None:
        """Tell what is closed from now on, or no longer; who asks again for the same changes nothing."""
        self._asked = message
        if not (message.frames or message.speech):
            self._told = None
        elif self._told is None:
            self._told, _ = self._board.since(self._session, 0)

    def news(self) -> list[channels.Frames | channels.Passes]:
        """Return what was closed since the last call, each frame set and each pass once."""
        if self._told is None:
            return []
        self._told, records = self._board.since(self._session, self._told)
        frames = [_frame(r) for r in records if r.kind == "view"] if self._asked.frames else []
        passes = [_pass(r) for r in records if r.kind == "speech"] if self._asked.speech else []
        return [*channels.in_messages(frames), *channels.passes_in_messages(passes)]


def _frame(record: Record) -> channels.FrameTrace:
    return channels.FrameTrace(
        capture_ns=record.capture_ns,
        displayed_ns=record.displayed_ns,
        deadline_ns=record.deadline_ns,
        clock_error_ns=record.clock_error_ns,
        outcome=record.outcome,
        reason=record.reason,
        rung=record.rung,
        cameras=record.cameras,
        stages=_spans(record),
        quality=record.quality,
        predicted_ns=record.predicted_ns,
    )


def _pass(record: Record) -> channels.PassTrace:
    return channels.PassTrace(
        capture_ns=record.capture_ns,
        displayed_ns=record.displayed_ns,
        deadline_ns=record.deadline_ns,
        outcome=record.outcome,
        text=record.text,
        stages=_spans(record),
    )


def _spans(record: Record) -> list[tuple[str, int, int]]:
    return [(s.name, s.start_ns, s.end_ns) for s in record.stages]
