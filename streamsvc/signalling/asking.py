"""How the port asks the hub: within a time, and whatever goes wrong comes back as one kind of error.

Nothing that a client sent is logged: neither an exception's text nor its arguments, for they may quote SDP.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable
from typing import TypeVar

from streamsvc.errors import StreamsvcError
from streamsvc.signalling.hub import Participant
from streamsvc.signalling.messages import SignallingError

_log = logging.getLogger(__name__)
T = TypeVar("T")
LEAVE_TIMEOUT_S = 5.0


async def ask(what: str, work: Awaitable[T], timeout_s: float) -> T:
    """Return what the hub answers to `what`, the `type` of a message; raises SignallingError, whose code and message
    are what the client is told."""
    try:
        async with asyncio.timeout(timeout_s):
            return await work
    except StreamsvcError as e:
        code = getattr(e, "code", None)
        raise SignallingError(code if isinstance(code, str) else "bad-input", str(e)) from None
    except TimeoutError:
        _log.warning("%s was not done within %g s", what, timeout_s)
        raise SignallingError("timeout", f"the service could not do {what} in time; try again") from None
    except Exception as e:
        _log.error("%s failed with %s\n%s", what, type(e).__name__, "".join(traceback.format_tb(e.__traceback__)))
        raise SignallingError("internal", f"the service failed to do {what}; its log says why") from None


async def leave(participant: Participant) -> None:
    """Let a participant leave; one who can't is logged."""
    try:
        async with asyncio.timeout(LEAVE_TIMEOUT_S):
            await participant.leave()
    except TimeoutError:
        _log.error("session %s did not leave within %g s", participant.session, LEAVE_TIMEOUT_S)
    except Exception as e:
        stack = "".join(traceback.format_tb(e.__traceback__))
        _log.error("session %s failed to leave with %s\n%s", participant.session, type(e).__name__, stack)
