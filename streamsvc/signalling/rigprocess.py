"""The process that looks for the board in one set-up of a rig: started, asked one thing at a time, ended.

Decoding what strangers send and finding boards take long and may fail; here that costs nobody's call anything. The
process yields the processor to everything else, and ends with this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

import msgspec

from streamsvc.frames import rigsetup
from streamsvc.frames.link import HEADER
from streamsvc.signalling.messages import SignallingError


class RigProcess:
    """One process. `ask` may be called again only when it has returned."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process id."""
        return None if self._process is None else self._process.pid

    async def ask(self, message: rigsetup.Ask, timeout_s: float) -> rigsetup.Answer:
        """Return the answer, starting the process if need be. Raises SignallingError: what the process refuses; or
        `timeout` or `setup-failed`, and then the process has ended."""
        try:
            async with asyncio.timeout(timeout_s):
                told = await self._exchange(message)
        except TimeoutError:
            await self.close()
            raise SignallingError("timeout", "looking took too long; begin again") from None
        except (OSError, asyncio.IncompleteReadError, msgspec.MsgspecError):
            await self.close()
            raise SignallingError(
                "setup-failed", "the process that looks for the board has died; begin again"
            ) from None
        if isinstance(told, rigsetup.Refused):
            raise SignallingError(told.code, told.message)
        return told

    async def close(self) -> None:
        """End the process, whatever it does."""
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    @property
    def ended(self) -> bool:
        """Whether the process was started and is no more."""
        return self._process is not None and self._process.returncode is not None

    async def _exchange(self, message: rigsetup.Ask) -> rigsetup.Answer:
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "streamsvc.calibrate",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                # Apart from Ctrl-C; a session of its own would make its niceness count for nothing beside ours.
                process_group=0,
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(rigsetup.pack(message))
        await self._process.stdin.drain()
        (size,) = HEADER.unpack(await self._process.stdout.readexactly(HEADER.size))
        return rigsetup.decode_answer(await self._process.stdout.readexactly(size))
