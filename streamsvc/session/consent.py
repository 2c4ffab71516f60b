"""Whether one room is recorded: who asked, who has yet to agree, and what ends it. Pure, the clock passed in.

    off --ask--> asked --agree, everybody--> on --stop, anybody; the members change; it can't go on--> off
                 asked --refuse, anybody; the members change; too late--> off

Invariant: it is on only while the members are those who agreed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from streamsvc.signalling.messages import SignallingError

State = Literal["off", "asked", "on"]


@dataclass(frozen=True, slots=True)
class Consent:
    """How a room stands. `waiting` are the sessions that have yet to agree, until `until_ns`; every method returns what
    comes next, or raises SignallingError("unexpected") and then nothing has changed."""

    state: State = "off"
    asker: str = ""
    waiting: frozenset[str] = field(default_factory=frozenset)
    until_ns: int = 0

    def ask(self, session: str, others: Iterable[str], until_ns: int) -> Consent:
        """One member wants to record; alone they only need to agree with themselves."""
        if self.state != "off":
            raise SignallingError("unexpected", "this room is being recorded, or somebody has asked already")
        waiting = frozenset(others)
        return Consent("asked" if waiting else "on", session, waiting, until_ns)

    def agree(self, session: str) -> Consent:
        """A member agrees."""
        if self.state != "asked" or session not in self.waiting:
            raise SignallingError("unexpected", "nobody waits for your answer")
        waiting = self.waiting - {session}
        return Consent("asked" if waiting else "on", self.asker, waiting, self.until_ns)

    def stop(self) -> Consent:
        """A member refuses, takes the question back, or ends the recording: each may, at any time."""
        if self.state == "off":
            raise SignallingError("unexpected", "nothing is being recorded, and nobody has asked")
        return Consent()

    def late(self, now_ns: int) -> bool:
        """Return whether the answer has taken too long."""
        return self.state == "asked" and now_ns >= self.until_ns
