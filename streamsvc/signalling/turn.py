"""Time-limited TURN credentials from a secret shared with the TURN server.

draft-uberti-behave-turn-rest-00, section 2.2, as coturn's `use-auth-secret` checks it: the username is the Unix time at
which it ends, a colon and a name; the credential is base64(HMAC-SHA1(secret, username)). Pure; the secret itself is in
nothing that is returned.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable

import msgspec

from streamsvc.config import IceServer

LIFETIME_S = 600
"""Time to begin a relay in: coturn keeps one up, however old its credential gets. Each `joined` brings a client a new
one, and the service makes one for itself at every offer.
"""


def credential(secret: str, name: str, now_s: float, lifetime_s: int = LIFETIME_S) -> tuple[str, str]:
    """Return the (username, credential) that a TURN server with this secret accepts until `now_s + lifetime_s`."""
    username = f"{int(now_s) + lifetime_s}:{name}"
    digest = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
    return username, base64.b64encode(digest).decode()


def issue(servers: Iterable[IceServer], name: str, now_s: float) -> list[IceServer]:
    """Return the servers as a session called `name` may know them: secrets turned into credentials, `now_s` is Unix
    time."""
    issued = []
    for server in servers:
        if server.secret is not None:
            username, key = credential(server.secret, name, now_s)
            server = msgspec.structs.replace(server, username=username, credential=key, secret=None)
        issued.append(server)
    return issued
