"""What the port answers over HTTP when it doesn't do what it was asked: a status, and JSON `{code, message}`."""

from __future__ import annotations

from starlette.responses import JSONResponse

from streamsvc.signalling.messages import SignallingError

RETRY_AFTER_S = 5
STATUSES = {
    "bad-token": 401,
    "foreign-origin": 403,
    "not-allowed": 403,
    "not-found": 404,
    "bad-method": 405,
    "slow": 408,
    "busy": 409,
    "name-taken": 409,
    "room-full": 409,
    "setup-over": 409,
    "wrong-kind": 409,
    "out-of-date": 412,
    "too-large": 413,
    "bad-content-type": 415,
    "apart": 422,
    "bad-calibration": 422,
    "bad-fit": 422,
    "degenerate": 422,
    "disagree": 422,
    "mirrored": 422,
    "no-board": 422,
    "no-restart": 422,
    "other-board": 422,
    "other-size": 422,
    "too-few-views": 422,
    "no-condition": 428,
    "too-many-messages": 429,
    "bad-ice-server": 500,
    "internal": 500,
    "setup-failed": 500,
    "unsupported-aiortc": 500,
    "gone": 503,
    "service-full": 503,
    "setups-full": 503,
    "timeout": 503,
    "no-room": 503,
    "too-many-rooms": 503,
}
"""Of the codes that aren't the client's input: that is 400."""


def refusal(error: SignallingError) -> JSONResponse:
    """Return the answer to a request that `error` is about."""
    status = STATUSES.get(error.code, 400)
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    elif status in (429, 503):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return JSONResponse({"code": error.code, "message": str(error)}, status, headers)
