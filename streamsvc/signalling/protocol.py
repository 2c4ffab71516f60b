"""What a client may say when: the state machine of one signalling connection, without I/O, the clock passed in.

    new --join--> joined --offer--> calling --offer (again)--> calling
     any --leave--> closed;  candidate after the first offer;  configure and record once joined

Owns one connection's state, its token bucket and its count of failed joins. A message that is not allowed is answered
with an error and changes nothing. The connection is closed after a `leave`, when nobody joined in time, after too many
failed joins, and when a client goes on flooding after it was told.
"""

from __future__ import annotations

import enum

import msgspec

from streamsvc.config import Limits
from streamsvc.signalling.messages import (
    Candidate,
    ClientMessage,
    Configure,
    Error,
    Join,
    Leave,
    Offer,
    Record,
    SignallingError,
    decode_client,
)

# A client may have this many messages dropped at once, and one a second in the long run, before it is closed.
FLOOD_DROPS = 50


class Close(enum.IntEnum):
    """WebSocket close codes (RFC 6455, section 7.4.1) and when they are used here."""

    NORMAL = 1000
    POLICY = 1008
    TRY_LATER = 1013


class State(enum.Enum):
    """Where a connection stands."""

    NEW = "new"
    JOINED = "joined"
    CALLING = "calling"
    CLOSED = "closed"


class Step(msgspec.Struct, frozen=True):
    """What to do with one message, in this order: carry out `message`, tell `error`, close with `close`."""

    message: ClientMessage | None = None
    error: Error | None = None
    close: Close | None = None


class TokenBucket:
    """At most `burst` at once and `per_s` in the long run."""

    def __init__(self, *, per_s: float, burst: int, now_ns: int) -> None:
        self._per_ns = per_s / 1e9
        self._burst = float(burst)
        self._level = self._burst
        self._at = now_ns

    def take(self, now_ns: int) -> bool:
        """Take one if there is one."""
        self._level = min(self._burst, self._level + (now_ns - self._at) * self._per_ns)
        self._at = now_ns
        if self._level < 1.0:
            return False
        self._level -= 1.0
        return True


class Conversation:
    """One connection. `take` says what to do with what came in; `succeeded` and `failed` say how that went."""

    def __init__(self, limits: Limits, now_ns: int) -> None:
        self.state = State.NEW
        self.join_deadline_ns = now_ns + round(limits.join_timeout_s * 1e9)
        self._limits = limits
        self._bucket = TokenBucket(per_s=limits.messages_per_s, burst=limits.message_burst, now_ns=now_ns)
        self._drops = TokenBucket(per_s=1.0, burst=FLOOD_DROPS, now_ns=now_ns)
        self._told_of_flood = False
        self._failed_joins = 0

    def take(self, data: str | bytes, now_ns: int) -> Step:
        """Return what to do with a WebSocket message; str is a text frame, bytes a binary one, which isn't accepted."""
        if self.state is State.CLOSED:
            return Step()
        if not self._bucket.take(now_ns):
            return self._flood(now_ns)
        self._told_of_flood = False
        try:
            if isinstance(data, bytes):
                raise SignallingError("bad-message", "binary messages are not accepted; send JSON as text")
            message = decode_client(data)
        except SignallingError as e:
            return Step(error=Error(code=e.code, message=str(e)))
        why = self._forbidden(message)
        if why is not None:
            return Step(error=Error(code="unexpected", message=why, re=kind_of(message)))
        if isinstance(message, Leave):
            self.state = State.CLOSED
            return Step(message=message, close=Close.NORMAL)
        return Step(message=message)

    def succeeded(self, message: ClientMessage) -> None:
        """Note that `message` was carried out."""
        if isinstance(message, Join):
            self.state = State.JOINED
        elif isinstance(message, Offer):
            self.state = State.CALLING

    def failed(self, message: ClientMessage, error: Error) -> Step:
        """Return what to tell a client whose `message` could not be carried out."""
        told = msgspec.structs.replace(error, re=kind_of(message))
        if isinstance(message, Join):
            self._failed_joins += 1
            if self._failed_joins >= self._limits.join_attempts:
                self.state = State.CLOSED
                return Step(error=told, close=Close.POLICY)
        return Step(error=told)

    def expired(self, now_ns: int) -> Step:
        """Return what to do when time has passed and no message has come."""
        if self.state is not State.NEW or now_ns < self.join_deadline_ns:
            return Step()
        self.state = State.CLOSED
        message = f"nobody joined within {self._limits.join_timeout_s:g} s; connect again and join at once"
        return Step(error=Error(code="join-timeout", message=message), close=Close.POLICY)

    def _forbidden(self, message: ClientMessage) -> str | None:
        match message:
            case Join() if self.state is not State.NEW:
                return "this connection has already joined; leave first, or open another"
            case Offer() | Configure() | Record() if self.state is State.NEW:
                return f"join a room before {kind_of(message)}"
            case Candidate() if self.state is not State.CALLING:
                return "send an offer before candidates"
            case _:
                return None

    def _flood(self, now_ns: int) -> Step:
        rate = f"{self._limits.messages_per_s:g} messages a second"
        error = Error(code="too-many-messages", message=f"at most {rate} are accepted; this one was dropped")
        if not self._drops.take(now_ns):
            self.state = State.CLOSED
            return Step(error=error, close=Close.POLICY)
        # Told once until a message gets through: an answer to each would double the flood.
        told, self._told_of_flood = self._told_of_flood, True
        return Step() if told else Step(error=error)


def kind_of(message: ClientMessage) -> str:
    """Return the `type` of a message on the wire."""
    return str(message.__struct_config__.tag)
