"""Whether a participant is there: what may be lost and come back before they count as gone. On the event loop.

A participant reaches us by a socket, on which they sign, and by media. Either may break when their network changes.
Then the session is kept for `GRACE_S` with all its state, and whoever shows its key on a new socket has it again; only
when that time is over, or at once where nobody can come back, have they left.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from streamsvc.signalling.hub import Send

GRACE_S = 20.0


class Presence:
    """`send` is None where nobody can come back (no socket); `gone` is called once, when the grace is over, `away` with
    True and False as they are lost and come back."""

    def __init__(self, send: Send, *, resumable: bool, away: Callable[[bool], None], gone: Callable[[], None]) -> None:
        self.send = send
        self.key = secrets.token_urlsafe(16) if resumable else None
        self._away, self._gone = away, gone
        self._socket = True
        self._media: bool | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False

    @property
    def is_away(self) -> bool:
        """Whether they are being waited for."""
        return self._timer is not None

    def socket(self, send: Send | None) -> None:
        """Take note of a new socket, or with None that there is none."""
        self._socket = send is not None
        if send is not None:
            self.send = send
        self._look()

    def media(self, up: bool) -> None:
        """Take note that media flow, or that they were lost."""
        self._media = up
        self._look()

    def end(self) -> None:
        """They left: nothing is waited for any more."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        there = self._socket and self._media is not False
        if self._ended or there == (self._timer is None):
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._away(False)
        elif self.key is None:
            self._gone()
        else:
            self._timer = asyncio.get_running_loop().call_later(GRACE_S, self._over)
            self._away(True)

    def _over(self) -> None:
        if not self._ended:
            self._ended = True
            self._gone()
