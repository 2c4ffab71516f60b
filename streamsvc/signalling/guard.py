"""What every request has to be before it is looked at: from a page that may ask, of a kind and size that is accepted.

All raise SignallingError, whose code and message are what the client is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.requests import ClientDisconnect, Request

from streamsvc.config import Server
from streamsvc.signalling.admission import Admission
from streamsvc.signalling.auth import origin_allowed
from streamsvc.signalling.messages import SignallingError


def check_origin(headers: Mapping[str, str], server: Server, admission: Admission) -> None:
    """Send pages of other sites away (foreign-origin), and count them."""
    if not origin_allowed(headers, listen_host=server.host, allowed=server.allowed_origins):
        told = "pages of other sites may not use this service; its operator can add them to server.allowed_origins"
        admission.refused()
        raise SignallingError("foreign-origin", told)


def check_type(request: Request, wanted: str) -> None:
    """Refuse a body that isn't said to be `wanted` (bad-content-type)."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != wanted:
        raise SignallingError("bad-content-type", f"the body must be {wanted}, and Content-Type must say so")


def check_length(request: Request, most: int) -> None:
    """Refuse a body that is said to be larger than `most` bytes (too-large)."""
    declared = request.headers.get("content-length", "0")
    if len(declared) > 12 or not declared.isdecimal() or int(declared) > most:
        raise SignallingError("too-large", f"the body has {declared[:20]} bytes; at most {most} are accepted")


async def read_body(request: Request, most: int, timeout_s: float) -> bytes:
    """Return the body; refuses what turns out larger than `most` bytes (too-large), takes longer than `timeout_s`
    (slow) or ends early (bad-message)."""
    data = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                data += chunk
                if len(data) > most:
                    raise SignallingError("too-large", f"the body is larger than the {most} bytes that are accepted")
    except TimeoutError:
        raise SignallingError("slow", f"the body did not come within {timeout_s:g} s") from None
    except ClientDisconnect:
        raise SignallingError("bad-message", "the body ended early") from None
    return bytes(data)
