"""SDP fragments that carry trickled ICE candidates (RFC 8840, section 9), as WHIP and WHEP clients send them. Pure."""

from __future__ import annotations

import re

import msgspec

from streamsvc.signalling.messages import Candidate, SignallingError

MAX_FRAGMENT_BYTES = 65_536
_LINE = re.compile(r"[a-z]=\S.*")


class Fragment(msgspec.Struct, frozen=True):
    """`usernames` are the ICE username fragments that it is about: none when it doesn't say. `candidates` are in order,
    and not checked; the one that is None ends the list."""

    usernames: frozenset[str]
    candidates: tuple[Candidate, ...]


def username_fragments(text: str) -> frozenset[str]:
    """Return every a=ice-ufrag of a description or of a fragment."""
    prefix = "a=ice-ufrag:"
    return frozenset(line.removeprefix(prefix).strip() for line in text.splitlines() if line.startswith(prefix))


def parse_fragment(text: str) -> Fragment:
    """Return what a fragment says; raises SignallingError (bad-fragment)."""
    candidates: list[Candidate] = []
    mid: str | None = None
    for line in filter(None, map(str.strip, text.splitlines())):
        if not _LINE.fullmatch(line):
            raise SignallingError("bad-fragment", "the body is no SDP fragment: every line is a letter, =, and a value")
        if line.startswith("a=mid:"):
            mid = line.removeprefix("a=mid:")
        elif line.startswith("m="):
            mid = None
        elif line.startswith("a=candidate:"):
            candidates.append(Candidate(candidate=line.removeprefix("a="), sdp_mid=mid))
        elif line == "a=end-of-candidates":
            candidates.append(Candidate(candidate=None, sdp_mid=mid))
    return Fragment(username_fragments(text), tuple(candidates))
