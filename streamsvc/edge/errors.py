"""What can go wrong at the WebRTC boundary, with a code for programs and a sentence for people."""

from __future__ import annotations

from streamsvc.errors import StreamsvcError


class EdgeError(StreamsvcError):
    """`code` is stable and kebab-case: bad-sdp, bad-candidate, bad-ice-server, bad-state, too-large,
    unsupported-aiortc, bad-picture."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
