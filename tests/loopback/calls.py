"""Real services on loopback for tests of whole calls."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from streamsvc.config import load
from streamsvc.peer import HeadlessPeer, PeerFigures, PeerOptions
from streamsvc.service import Service


@asynccontextmanager
async def service(tmp: Path, *, extra_stage_ms: float = 0.0, **flags: Any) -> AsyncIterator[tuple[Service, str]]:
    """A service in this process with its worker in another; yields it and its URL."""
    defaults = {
        "server.port": 0,
        "speech.enabled": False,
        "ledger.path": tmp / "ledger.jsonl",
        "view.width": 320,
        "view.height": 240,
        "limits.admission": False,  # these calls are not about that, and a machine that runs tests is busy
    }
    running = Service(load(None, {}, defaults | flags), extra_stage_ms=extra_stage_ms)
    stop = asyncio.Event()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(running.run(stop, port.set_result))
    await asyncio.wait({task, port}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        yield running, f"http://127.0.0.1:{port.result()}"
    finally:
        stop.set()
        await task


async def until(condition: Callable[[], Any], what: str, limit_s: float = 60.0) -> None:
    """Wait until `condition()` holds; fails naming `what` when it does not within a generous limit."""
    for _ in range(round(limit_s / 0.05)):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"did not happen within {limit_s} s: {what}")


class Call:
    """A headless peer in a call that ends when the block does."""

    def __init__(self, options: PeerOptions) -> None:
        self.peer = HeadlessPeer(options)
        self.stop = asyncio.Event()
        self._task: asyncio.Task[PeerFigures] | None = None

    async def __aenter__(self) -> "Call":
        self._task = asyncio.create_task(self.peer.run(stop=self.stop))
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.stop.set()
        assert self._task is not None
        await self._task

    @property
    def views(self) -> int:
        """How many views came so far."""
        return self.peer.figures.viewed

    async def sees(self, more: int = 3) -> None:
        """Wait for `more` further views."""
        before = self.views
        assert self._task is not None
        await until(lambda: self.views >= before + more or self._task.done(), f"{more} more views")  # type: ignore[union-attr]
        if self._task.done():
            self._task.result()
            raise AssertionError("the call ended")


BODY = {"cam0": "synthetic:body", "cam1": "synthetic:body"}
