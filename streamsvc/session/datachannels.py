"""What crosses one participant's data channels: eyes, clocks and reports up; captions, figures and depths down.

On the event loop. Promises: the newest eyes win, whatever comes last; committed words that can't be told wait, in order
and at most `MAX_UNHEARD`, until they can; what comes and can't be read is told, and changes nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from streamsvc.budget import Clock
from streamsvc.edge import Connection
from streamsvc.frames import ClockMap
from streamsvc.ledger.live import LiveBoard
from streamsvc.session.clocks import SenderTime
from streamsvc.session.following import Following
from streamsvc.session.watching import Watching
from streamsvc.signalling import channels
from streamsvc.signalling import messages as wire
from streamsvc.signalling.messages import SignallingError

LIVE_S = 0.5
MAX_UNHEARD = 500
"""Captions that wait for a participant whose connection was lost."""

EARLY_NS = 50_000_000
"""By how much the clock of who reports a display may be wrong, beside the error that they say."""


class DataChannels:
    """The channels of `session`, over one connection after another. `watching` tells what they see now, `budget_ms` the
    budget that is in force, and `refused` (code, text) tells them of what wasn't taken."""

    def __init__(
        self,
        session: str,
        board: LiveBoard,
        clock: Clock,
        *,
        watching: Callable[[], Watching | None],
        budget_ms: Callable[[], float],
        refused: Callable[[str, str], None],
    ) -> None:
        self.eyes: list[channels.Eye] | None = None
        self.time = SenderTime()
        self._session, self._board, self._clock = session, board, clock
        self._watching, self._budget_ms, self._refused = watching, budget_ms, refused
        self._following = Following(session, board)
        self._connection: Connection | None = None
        self._looked_us: int | None = None
        self._unheard: deque[channels.CaptionsDown] = deque(maxlen=MAX_UNHEARD)
        self._live_task: asyncio.Task[None] | None = None

    def use(self, connection: Connection) -> None:
        """Go on over another connection, where the participant's clocks may be others."""
        self._connection = connection
        connection.on_message = self._on_message
        self.time, self._looked_us = SenderTime(), None
        if self._live_task is None:
            self._live_task = asyncio.create_task(self._tell_live(), name=f"live {self._session}")

    def close(self) -> None:
        """Tell nothing more."""
        if self._live_task is not None:
            self._live_task.cancel()

    def caption(self, message: channels.CaptionsDown) -> None:
        """Show a caption of whom they hear; committed words wait while there is no way to them."""
        lasting = not isinstance(message, channels.Tentative)
        if (lasting or not self._unheard) and self._tell_unheard() and self._tell("captions", message):
            return
        if lasting and self._connection is not None:
            self._unheard.append(message)

    def packed(self, message: channels.PackedView) -> None:
        """Tell what the next packed picture shows."""
        self._tell("viewpoint", message)

    def _tell(self, label: str, message: channels.CaptionsDown | channels.PackedView | channels.LedgerDown) -> bool:
        return self._connection is not None and self._connection.send(label, wire.encode(message))

    def _tell_unheard(self) -> bool:
        """Tell what waited; whether nothing waits any more."""
        while self._unheard and self._tell("captions", self._unheard[0]):
            self._unheard.popleft()
        return not self._unheard

    async def _tell_live(self) -> None:
        while True:
            await asyncio.sleep(LIVE_S)
            figures = self._board.figures(self._session, self._clock.now_ns())
            live = channels.Live(
                latency_ms=figures.latency_p50_ms,
                goodput=figures.goodput,
                fps=figures.fps,
                rung=figures.rung,
                budget_ms=self._budget_ms(),
                cameras=figures.cameras,
                speech_lag_ms=figures.speech_lag_ms,
                dropped=figures.dropped,
            )
            self._tell_unheard()
            for message in (live, *self._following.news()):
                self._tell("ledger", message)

    def _on_message(self, label: str, text: str) -> None:
        try:
            if label == "viewpoint":
                self._on_viewpoint(channels.decode_viewpoint(text))
            elif label == "ledger":
                self._on_report(channels.decode_ledger_up(text))
        except SignallingError as e:
            self._refused(e.code, f"data channel {label}: {e}")

    def _on_viewpoint(self, message: channels.ViewpointMessage) -> None:
        if self._looked_us is not None and message.t_us < self._looked_us:
            return  # overtaken on the way
        self._looked_us, self.eyes = message.t_us, message.eyes
        if (watching := self._watching()) is not None:
            watching.eyes = self.eyes

    def _on_report(self, message: channels.LedgerUp) -> None:
        match message:
            case channels.Ping():
                self._tell("ledger", channels.Pong(sent_ns=message.sent_ns, server_ns=self._clock.now_ns()))
            case channels.Clocks():
                self.time.told(ClockMap(message.offset_ns, message.error_ns))
            case channels.Shown():
                now, watching = self._clock.now_ns(), self._watching()
                for rtp_timestamp, displayed_ns in message.frames:
                    # Nobody has seen a picture in the future; a wrong clock must not improve the figures.
                    if watching is not None and displayed_ns <= now + message.error_ns + EARLY_NS:
                        watching.shown(rtp_timestamp, displayed_ns, message.error_ns)
            case channels.Follow():
                self._following.ask(message)
