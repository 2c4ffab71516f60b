"""The two links of a call as a relay of UDP datagrams, put between its ends by their own SDP. Needs no privileges.

`Shaper.offer` and `Shaper.answer` replace the candidates in the descriptions by the relay's own, so the ends know of
each other only through it. What is bundled on one transport passes, which is what both of our ends and browsers ask
for. Datagrams that leave at once are passed on at once; others wait for a timer of the event loop, which is up to 1 ms
late, and later where the loop is busy.
"""

from __future__ import annotations

import asyncio
import heapq
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from streamsvc.shaper.link import SECOND_NS, Kind, Link
from streamsvc.shaper.network import Network, ShaperError

Address = tuple[str, int]
_CANDIDATE = re.compile(r"a=candidate:\S+ 1 udp (?P<priority>\d+) (?P<host>[\d.]+) (?P<port>\d+) typ host.*", re.I)
_RTX = re.compile(r"a=fmtp:(\d+) apt=(\d+)")


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one direction: datagrams that came, those lost on purpose and those for which the queue was full; bytes that
    came."""

    packets: int
    lost: int
    overflowed: int
    bytes: int


class _End(asyncio.DatagramProtocol):
    """The socket that one end of the call takes for the other."""

    def __init__(self, shaper: Shaper, link: Link) -> None:
        self._shaper, self._link = shaper, link
        self.peer: Address | None = None
        self.other: _End
        self.packets = self.bytes = 0
        self._waiting: list[tuple[int, int, bytes]] = []
        self._order = count()
        self._due: tuple[int, asyncio.TimerHandle] | None = None
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    @property
    def address(self) -> Address:
        assert self._transport is not None
        host, port = self._transport.get_extra_info("sockname")[:2]
        return host, port

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.peer = addr[:2]
        self.packets += 1
        self.bytes += len(data)
        now = time.monotonic_ns()
        kind = self._shaper.kind(data)
        self._link.rules = self._shaper.rules(now, kind)
        for instant in self._link.put(now, len(data), kind):
            # In the order of coming where instants are the same, which timers of their own would not keep.
            heapq.heappush(self._waiting, (instant, next(self._order), data))
        self._pass_on()

    def _pass_on(self) -> None:
        """Send what is due, and come back for the rest."""
        now = time.monotonic_ns()
        while self._waiting and self._waiting[0][0] <= now:
            self.other.send(heapq.heappop(self._waiting)[2])
        due = self._waiting[0][0] if self._waiting else None
        if due is not None and (self._due is None or due < self._due[0]):
            if self._due is not None:
                self._due[1].cancel()
            timer = asyncio.get_running_loop().call_later((due - now) / SECOND_NS, self._on_time)
            self._due = due, timer

    def _on_time(self) -> None:
        self._due = None
        self._pass_on()

    def send(self, data: bytes) -> None:
        if self._transport is not None and self.peer is not None and not self._transport.is_closing():
            self._transport.sendto(data, self.peer)

    def error_received(self, exc: Exception) -> None:
        """An end that isn't there any more is no error of ours."""

    def close(self) -> None:
        if self._due is not None:
            self._due[1].cancel()
        if self._transport is not None:
            self._transport.close()

    def counts(self) -> Counts:
        return Counts(self.packets, self._link.lost, self._link.overflowed, self.bytes)


class Shaper:
    """Lets one call pass through `network` at a time; both directions have the same rules and a `seed` of their own.

    `offer` then `answer`, for each call anew (a reconnection too); `close` at the end. Lives on one event loop.
    """

    def __init__(self, network: Network, seed: int = 1) -> None:
        self._network, self._seed = network, seed
        self._started_ns: int | None = None
        self._payloads: dict[int, Kind] = {}
        self._ends: tuple[_End, ...] = ()

    async def offer(self, sdp: str) -> str:
        """Return an offer whose sender is reached through the network. Raises ShaperError when it has no IPv4
        candidate, as mDNS names are none."""
        self.close()
        client = _best_candidate(sdp)
        up, down = Link(self._network.at(0), self._seed), Link(self._network.at(0), self._seed + 1)
        near, far = _End(self, up), _End(self, down)
        near.other, far.other = far, near
        loop = asyncio.get_running_loop()
        for end in (near, far):
            await loop.create_datagram_endpoint(lambda end=end: end, local_addr=(client[0], 0))  # type: ignore[misc]
        near.peer = client
        self._ends = (near, far)
        self._payloads = _payloads(sdp)
        return _with_candidate(sdp, far.address)

    async def answer(self, sdp: str) -> str:
        """Return the answer to what `offer` returned, with its sender reached through the network. Raises
        ShaperError."""
        near, far = self._ends
        far.peer = _best_candidate(sdp)
        self._payloads |= _payloads(sdp)
        return _with_candidate(sdp, near.address)

    def rules(self, now_ns: int, kind: Kind) -> Any:
        """Return the rules in force; time counts from the first packet of media."""
        if self._started_ns is None and kind is not Kind.OTHER:
            self._started_ns = now_ns
        return self._network.at(0.0 if self._started_ns is None else (now_ns - self._started_ns) / SECOND_NS)

    def kind(self, data: bytes) -> Kind:
        """Return what a datagram carries (RFC 7983 section 7, RFC 5761 section 4)."""
        if len(data) < 12 or not 128 <= data[0] <= 191 or 192 <= data[1] <= 223:
            return Kind.OTHER
        return self._payloads.get(data[1] & 0x7F, Kind.OTHER)

    @property
    def counts(self) -> tuple[Counts, ...]:
        """What went from the offering end to the other and back, since the last `offer`."""
        return tuple(end.counts() for end in self._ends)

    def close(self) -> None:
        """Let nothing pass any more."""
        for end in self._ends:
            end.close()


def _payloads(sdp: str) -> dict[int, Kind]:
    """Return the payload types that can be sent again, and those of what is sent again (RFC 4588 section 8.1)."""
    pairs = [(int(again), int(of)) for again, of in _RTX.findall(sdp)]
    return {of: Kind.MEDIA for _, of in pairs} | {again: Kind.RETRANSMISSION for again, _ in pairs}


def _best_candidate(sdp: str) -> Address:
    """Return the first transport's best address."""
    first = sdp.split("\nm=", 2)[1] if "\nm=" in sdp else ""
    found: Sequence[re.Match[str]] = list(_CANDIDATE.finditer(first))
    if not found:
        raise ShaperError("a description without an IPv4 host candidate can't be led through a network of rules")
    best = max(found, key=lambda m: int(m["priority"]))
    return best["host"], int(best["port"])


def _with_candidate(sdp: str, address: Address) -> str:
    """Return the description with one candidate in place of all others."""
    ours = f"a=candidate:1 1 udp 2130706431 {address[0]} {address[1]} typ host"
    lines: list[str] = []
    wanted = False
    for line in sdp.splitlines():
        if line.startswith("m="):
            wanted = True
        if not line.startswith("a=candidate:"):
            lines.append(line)
        elif wanted:
            lines.append(ours)
            wanted = False
    return "\r\n".join(lines) + "\r\n"
