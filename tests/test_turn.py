"""TURN credentials: made as coturn checks them, and without the secret."""

from __future__ import annotations

import msgspec

from streamsvc.config import IceServer
from streamsvc.signalling.turn import credential, issue


def test_a_credential_is_the_hmac_of_its_username() -> None:
    # Checked against `printf '%s' 86400:ada | openssl dgst -sha1 -hmac hush -binary | base64`.
    assert credential("hush", "ada", 0.5, 86400) == ("86400:ada", "A0lFqarEoVCVC2XQyGcdUhLuQVE=")


def test_a_session_is_given_credentials_and_never_the_secret() -> None:
    servers = (IceServer(("stun:a",)), IceServer(("turn:b",), secret="hush"), IceServer(("turn:c",), "u", "p"))
    plain, made, fixed = issue(servers, "s1", 1000.0)
    assert plain == servers[0]
    assert fixed == servers[2]
    assert made.username == "1600:s1"
    assert made.secret is None
    assert b"hush" not in msgspec.json.encode([plain, made, fixed])
