"""What makes a calibration impossible, said so that the person with the board knows what to do."""

from __future__ import annotations

from streamsvc.errors import StreamsvcError


class CalibrationError(StreamsvcError):
    """What was wrong with the board, the pictures or the poses, and what to do about it; `code` is for programs."""

    def __init__(self, message: str, code: str = "bad-calibration") -> None:
        super().__init__(message)
        self.code = code
