"""Who may join, and from which page: tokens and origins.

A token file holds one token a line; `#` starts a comment line; a token may be followed by `room=NAME` (the rest of the
line), which restricts it to that room. Only digests are kept, and every one is compared each time, so that neither the
time of an answer nor the memory of the process tells a token. A token is never logged nor put into an error.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from streamsvc.config import ConfigError, is_loopback
from streamsvc.signalling.messages import SignallingError
from streamsvc.signalling.rooms import same_name

_log = logging.getLogger(__name__)
MAX_TOKENS = 10_000


class TokenBook:
    """The tokens of one service; an empty book lets everybody in."""

    def __init__(self, tokens: Iterable[tuple[str, str | None]] = ()) -> None:
        """Take pairs of a token and the one room it opens, None for every room."""
        self._entries = tuple((_digest(token), None if room is None else same_name(room)) for token, room in tokens)

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
        for number, raw in enumerate(text.splitlines(), 1):
            line = raw.strip()
            if not line or line.startswith("#"):
                continue
            token, rest = [*line.split(maxsplit=1), ""][:2]
            if rest and not (rest.startswith("room=") and rest != "room="):
                raise ConfigError(f"the token file {file}, line {number}: after the token only room=NAME is accepted")
            tokens.append((token, rest.removeprefix("room=") if rest else None))
        if not tokens:
            raise ConfigError(f"the token file {file} holds no token, so nobody could join; write one token a line")
        if len(tokens) > MAX_TOKENS:
            raise ConfigError(f"the token file {file} holds {len(tokens)} tokens; at most {MAX_TOKENS} are accepted")
        return cls(tokens)

    @property
    def required(self) -> bool:
        """Return True when nobody gets in without a token."""
        return bool(self._entries)

    def check_join(self, token: str | None, room: str) -> None:
        """Return when `token` opens `room`; raises SignallingError (bad-token) otherwise."""
        if self.required and not self._opens(token, room):
            told = "this service needs a token" if not token else "the token is not accepted for this room"
            raise SignallingError("bad-token", f"{told}; ask whoever runs the service for one")

    def check_bearer(self, authorization: str | None) -> bool:
        """Return True when an Authorization header carries a Bearer token (RFC 6750) that isn't bound to a room."""
        return not self.required or self._opens(bearer_token(authorization), None)

    def _opens(self, token: str | None, room: str | None) -> bool:
        digest = _digest(token or "")
        wanted = None if room is None else same_name(room)
        found = False
        for known, only in self._entries:
            same = hmac.compare_digest(known, digest)
            found |= same and (only is None or only == wanted)
        return found


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
