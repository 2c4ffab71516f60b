"""Who may join, and from which page: tokens and origins.

A token file holds one token a line; `#` starts a comment line; a token may be followed by `room=NAME` (the rest of the
line), which restricts it to that room. Of these only digests are kept, and every one is compared each time, so that
neither the time of an answer nor the memory of the process tells a token. A line `key=SECRET` lets tokens in that were
signed with that secret (`streamsvc token`): those open what they say, for as long as they say, and need no line of
their own. A token is never logged nor put into an error.

A signed token is `s1.PAYLOAD.MAC`: the payload is base64url of JSON, the MAC base64url of HMAC-SHA256 (RFC 2104) over
`s1.PAYLOAD`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import math
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from streamsvc.config import ConfigError, is_loopback
from streamsvc.signalling.grants import Grant
from streamsvc.signalling.messages import SignallingError
from streamsvc.signalling.rooms import same_name

_log = logging.getLogger(__name__)
MAX_TOKENS = 10_000
LEAST_KEY = 32
"""Characters that a key has at least."""

SIGNED = "s1"
EVERYTHING = Grant(until=math.inf)


def sign(grant: Grant, key: str) -> str:
    """Return the token that says `grant`, signed with `key`."""
    body = f"{SIGNED}.{_base64(msgspec.json.encode(grant))}"
    return f"{body}.{_base64(_mac(key, body))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _mac(key: str, body: str) -> bytes:
    return hmac.digest(key.encode(), body.encode("utf-8", "surrogatepass"), "sha256")


class TokenBook:
    """The tokens of one service; an empty book lets everybody in."""

    def __init__(
        self,
        tokens: Iterable[tuple[str, str | None]] = (),
        keys: Iterable[str] = (),
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """Take pairs of a token and the one room it opens, None for every room; the keys of signed tokens; and what
        tells Unix time."""
        self._entries = tuple((_digest(token), None if room is None else same_name(room)) for token, room in tokens)
        self.keys = tuple(keys)
        self._now_s = now_s

    @classmethod
    def read(cls, file: Path) -> TokenBook:
        """Return the tokens of a file; raises ConfigError naming file and line when it can't be used."""
        try:
            text = file.read_text(encoding="utf-8")
            mode = file.stat().st_mode
        except (OSError, UnicodeError) as e:
            reason = e.strerror if isinstance(e, OSError) else "it is not UTF-8"
            raise ConfigError(f"the token file {file} can't be read: {reason}") from None
        if mode & stat.S_IROTH:
            _log.warning("the token file %s can be read by every user of this machine; chmod 600 it", file)
        tokens: list[tuple[str, str | None]] = []
        keys: list[str] = []
        for number, raw in enumerate(text.splitlines(), 1):
            line = raw.strip()
            if not line or line.startswith("#"):
                continue
            if line.startswith("key="):
                key = line.removeprefix("key=").strip()
                if len(key) < LEAST_KEY:
                    raise ConfigError(
                        f"the token file {file}, line {number}: a key has at least {LEAST_KEY} characters; "
                        "`openssl rand -hex 32` makes one"
                    )
                keys.append(key)
                continue
            token, rest = [*line.split(maxsplit=1), ""][:2]
            if rest and not (rest.startswith("room=") and rest != "room="):
                raise ConfigError(f"the token file {file}, line {number}: after the token only room=NAME is accepted")
            tokens.append((token, rest.removeprefix("room=") if rest else None))
        if not tokens and not keys:
            raise ConfigError(f"the token file {file} holds no token, so nobody could join; write one token a line")
        if len(tokens) > MAX_TOKENS:
            raise ConfigError(f"the token file {file} holds {len(tokens)} tokens; at most {MAX_TOKENS} are accepted")
        return cls(tokens, keys)

    @property
    def required(self) -> bool:
        """Return True when nobody gets in without a token."""
        return bool(self._entries or self.keys)

    def check_join(self, token: str | None, room: str, *, begun: bool = False) -> Grant:
        """Return what `token` allows in `room`; raises SignallingError (bad-token) when it doesn't open it. With
        `begun`, for who shows the secret of something that goes on, a signed token may have ended since."""
        if not self.required:
            return EVERYTHING
        grant = self._opens(token, room, begun=begun)
        if grant is None:
            raise self._refusal(token, "the token is not accepted for this room")
        return grant

    def check_any(self, token: str | None, *, begun: bool = False) -> Grant:
        """Return what `token` allows in the rooms that it opens, `begun` as above; raises SignallingError (bad-token)
        when there are none."""
        if not self.required:
            return EVERYTHING
        grant = self._opens(token, None, some=True, begun=begun)
        if grant is None:
            raise self._refusal(token, "the token is not accepted")
        return grant

    def check_bearer(self, authorization: str | None) -> bool:
        """Return True when an Authorization header carries a Bearer token (RFC 6750) that isn't bound to a room and has
        no limits."""
        if not self.required:
            return True
        grant = self._opens(bearer_token(authorization), None)
        return grant is not None and not grant.limited

    def _refusal(self, token: str | None, otherwise: str) -> SignallingError:
        grant = self._granted(token or "")
        if grant is not None and self._now_s() >= grant.until:
            return SignallingError("bad-token", "the token has ended; ask whoever gave it to you for another")
        told = otherwise if token else "this service needs a token"
        return SignallingError("bad-token", f"{told}; ask whoever runs the service for one")

    def _opens(self, token: str | None, room: str | None, *, some: bool = False, begun: bool = False) -> Grant | None:
        """Return what `token` allows in `room` (None: every room), or, with `some`, in any room at all; None where it
        opens none, or, unless `begun`, has ended."""
        digest = _digest(token or "")
        wanted = None if room is None else same_name(room)
        found = False
        for known, only in self._entries:
            same = hmac.compare_digest(known, digest)
            found |= same and (some or only is None or only == wanted)
        grant = self._granted(token or "")
        live = grant is not None and (begun or self._now_s() < grant.until)
        if grant is not None and live and (some or grant.room is None or same_name(grant.room) == wanted):
            return grant
        return EVERYTHING if found else None

    def _granted(self, token: str) -> Grant | None:
        """Return what a signed token says; None for one that isn't, or whose signature is another's."""
        body, _, mac = token.rpartition(".")
        kind, _, payload = body.partition(".")
        if kind != SIGNED:
            return None
        good = False
        for key in self.keys:
            good |= hmac.compare_digest(_base64(_mac(key, body)).encode(), mac.encode("utf-8", "surrogatepass"))
        if not good:
            return None
        try:
            return msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=Grant)
        except (msgspec.MsgspecError, ValueError):
            return None


def bearer_token(authorization: str | None) -> str | None:
    """Return the token of an Authorization header of the scheme Bearer (RFC 6750); None where there is none."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def origin_allowed(headers: Mapping[str, str], *, listen_host: str, allowed: tuple[str, ...]) -> bool:
    """Return True when the page that asks may use this service (RFC 6455, section 10.2, for a WebSocket).

    Without an Origin header it isn't a browser. Otherwise the page must be this service's own (Origin and Host agree)
    or in `allowed`. A service that listens on loopback takes its own page only under a loopback name: a foreign name
    that was made to resolve to 127.0.0.1 (DNS rebinding) also agrees with Host.
    """
    origin = headers.get("origin")
    if origin is None or "*" in allowed:
        return True
    if origin.lower().rstrip("/") in {a.lower().rstrip("/") for a in allowed}:
        return True
    try:
        page = urlsplit(origin)
        own = urlsplit(f"{page.scheme}://{headers.get('host', '')}")
        same = page.hostname is not None and (page.hostname, _port(page.scheme, page.port)) == (
            own.hostname,
            _port(page.scheme, own.port),
        )
    except ValueError:
        return False
    return same and (not is_loopback(listen_host) or is_loopback(page.hostname or ""))


def _port(scheme: str, port: int | None) -> int | None:
    return port if port is not None else {"http": 80, "https": 443}.get(scheme)
