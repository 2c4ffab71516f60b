"""What a call needs of a worker, wherever it runs; `fleet.LocalWorker` is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from streamsvc.frames import link
from streamsvc.frames.ring import Ring, Slots


class WorkerLink(Protocol):
    """Messages to one worker, and the ring that carries its pictures. Nothing here blocks."""

    ready: link.Ready | None
    ring: Ring | None
    slots: Slots

    @property
    def up(self) -> bool:
        """True while a warm worker is connected."""
        ...

    def open(self, message: link.OpenView | link.OpenSpeech, listener: Callable[[link.FromWorker], None]) -> None:
        """Open a stream, now and after every replacement."""
        ...

    def configure(self, message: link.ConfigureSpeech) -> None:
        """Change an open speaker's settings."""
        ...

    def close(self, stream: str) -> None:
        """End a stream; a speaker's last words still come."""
        ...

    def send(self, message: link.SetIn | link.SoundIn | link.GiveOut) -> bool:
        """Pass a message on; False when it is lost."""
        ...

    async def costs(self, views: Sequence[link.OpenView]) -> link.Costs | None:
        """Ask what streams cost, and what `views` would; None when no worker is up or it doesn't answer in time."""
        ...

    def on_state(self, listener: Callable[[bool], None]) -> None:
        """Call `listener(up)` whenever a worker is lost or back."""
        ...
