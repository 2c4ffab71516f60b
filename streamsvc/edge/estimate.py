"""How much a connection's receiver finds that the way to it carries: one estimate for all videos of a connection, told
to the sender as REMB (draft-alvestrand-rmcat-remb). Pure, on the arrival clock in ms.

Three signs of too much: packets spread out on the way and wait (aiortc's delay filter and overuse detector, after
Carlucci et al., MMSys 2016), a queue that stands (the delay beyond the least of late, which the filter can't see once
the queue is full and no longer grows), and loss that is more than chance. Then the estimate falls to what arrives, and
lower still by what it takes to empty the queue in about a second. It rises by a fifth a second, not while a queue
builds up, and slowly around the rate at which the link was last found full; well beyond that the link has grown, and it
rises twice as fast to where it was before.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import takewhile

from aiortc.rate import (
    INTER_ARRIVAL_SHIFT,
    TIMESTAMP_GROUP_LENGTH_MS,
    TIMESTAMP_TO_MS,
    BandwidthUsage,
    InterArrival,
    OveruseDetector,
    OveruseEstimator,
)

WINDOW_MS = 500
"""Over which throughput is counted."""

QUEUED_WINDOW_MS = 150
"""The same while a queue stands: then packets come as the link lets them."""

QUEUED_MS = 30
"""A queue stands for longer than a machine that was busy takes to look at what came meanwhile."""

LOSS_WINDOW_MS = 2000

INTERVAL_MS = 250
"""Between estimates that don't fall; one that falls is told at once."""

SETTLE_MS = 500
"""What a fall takes to show in what arrives."""

LEAST_BPS = 30_000
STANDING_MS, BUILDING_MS, EMPTY_MS = 100.0, 30.0, 15.0
"""What waits: so much is too much; with so much of it nothing rises; with so little, packets that spread out say
nothing."""

TOO_MUCH_LOSS, TOO_MUCH_LOSS_QUEUED = 0.12, 0.05
"""A link that loses so much is full; while a queue builds less is enough."""

SURE = 2.5
"""Standard deviations by which loss must be more than that: of few packets many are lost now and then."""

KEPT = 0.85
DRAINED = 0.5
"""Of what arrives: what an estimate falls to, and to at least when a queue has to be emptied too."""

RISE, RISE_FULL, RISE_BACK = 0.2, 0.04, 0.4
"""A second, as a share: usually, around the rate at which the link was last found full, and from beyond that to what it
once was."""

GROWN = 1.3
"""Of that rate: a link that carries so much has certainly grown. Where it is full is found too low now and then."""

NEAR_FULL = (0.95, 1.1)
"""Of that rate: from here the estimate feels its way, and beyond it that rate is no longer believed."""

BASE_MS = 30_000
BELIEF = 3
"""So many falls that did not shorten the delay, and it is taken for the way's own."""


class QueueDelay:
    """The time that packets stand in queues, ms: their delay beyond the least of the last 30 s. Single packets are held
    up by other things, so of ten the least counts."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=10)
        self._least: deque[tuple[int, float]] = deque()

    def add(self, delay_ms: float, now_ms: int) -> float:
        """Take the delay of a packet, with any constant in it, and return how long packets stand now."""
        self._last.append(delay_ms)
        now = min(self._last)
        while self._least and self._least[-1][1] >= now:
            self._least.pop()
        self._least.append((now_ms, now))
        while self._least[0][0] < now_ms - BASE_MS:
            self._least.popleft()
        return now - self._least[0][1]

    def rebase(self) -> None:
        """Take the delay of now for that of the way."""
        self._least.clear()


class Throughput:
    """Bits per second that arrive, over the last `WINDOW_MS` or less."""

    def __init__(self) -> None:
        self._packets: deque[tuple[int, int]] = deque()
        self._bytes = 0
        self._since: int | None = None

    def add(self, size: int, now_ms: int) -> None:
        """Take a packet of `size` bytes."""
        if self._since is None:
            self._since = now_ms
        self._packets.append((now_ms, size))
        self._bytes += size
        while self._packets[0][0] <= now_ms - WINDOW_MS:
            self._bytes -= self._packets.popleft()[1]

    def bps(self, now_ms: int) -> float | None:
        """Return the rate, None before a window is over."""
        if self._since is None or now_ms - self._since < WINDOW_MS:
            return None
        return self._bytes * 8000.0 / WINDOW_MS

    def queued_bps(self, now_ms: int) -> float:
        """Return the rate over `QUEUED_WINDOW_MS`."""
        recent = takewhile(lambda packet: packet[0] > now_ms - QUEUED_WINDOW_MS, reversed(self._packets))
        return sum(size for _, size in recent) * 8000.0 / QUEUED_WINDOW_MS


class Loss:
    """The share of packets that don't come, over the last `LOSS_WINDOW_MS`, and whether that is too much."""

    def __init__(self) -> None:
        self._packets: deque[tuple[int, int, int]] = deque()
        self._came = self._lost = 0

    def add(self, came: int, lost: int, now_ms: int) -> None:
        """Take note of packets that came, and of some that are missing."""
        self._packets.append((now_ms, came, lost))
        self._came += came
        self._lost += lost
        while self._packets[0][0] <= now_ms - LOSS_WINDOW_MS:
            _, came, lost = self._packets.popleft()
            self._came -= came
            self._lost -= lost

    @property
    def share(self) -> float:
        """The share that is missing."""
        sent = self._came + self._lost
        return self._lost / sent if sent else 0.0

    def exceeds(self, share: float) -> bool:
        """Whether more than that share is lost, and not by chance."""
        sent = self._came + self._lost
        return self._lost > share * sent + SURE * math.sqrt(share * (1 - share) * sent)

    def forget(self) -> None:
        """Count anew, because less will be sent from now on."""
        self._packets.clear()
        self._came = self._lost = 0


class RateControl:
    """The estimate itself."""

    def __init__(self) -> None:
        self.estimate_bps: float | None = None
        self._changed_ms: int | None = None
        self._fell_ms = -(10**9)
        self._full_bps: float | None = None
        self._grown_bps = self._back_bps = self._most_bps = 0.0

    def settling(self, now_ms: int) -> bool:
        """Whether the last fall can't have shown yet."""
        return now_ms - self._fell_ms < SETTLE_MS

    def fall(self, arrives_bps: float, queue_ms: float, now_ms: int) -> None:
        """There is too much."""
        full = arrives_bps if self._full_bps is None else (self._full_bps + arrives_bps) / 2
        # A link that carries far less or more than before isn't the mean of the two.
        self._full_bps = full if abs(full - arrives_bps) < 0.2 * arrives_bps else arrives_bps
        self._back_bps = 0.0
        lower = max(LEAST_BPS, arrives_bps * max(DRAINED, KEPT - queue_ms / 1000))
        self.estimate_bps = lower if self.estimate_bps is None else min(self.estimate_bps, lower)
        self._fell_ms = self._changed_ms = now_ms

    def rise(self, arrives_bps: float, now_ms: int) -> None:
        """There is room."""
        if self.estimate_bps is None:
            self.estimate_bps = max(LEAST_BPS, 1.5 * arrives_bps)
        elif self._changed_ms is not None:
            seconds = min(now_ms - self._changed_ms, 1000) / 1000
            near = self._full_bps is not None and self._near(self._full_bps)
            risen = self.estimate_bps * (1 + (RISE_FULL if near else RISE) * seconds)
            if self.estimate_bps > self._grown_bps:
                risen = max(risen, min(self._back_bps, self.estimate_bps * (1 + RISE_BACK * seconds)))
            # What isn't used says nothing about what there is.
            self.estimate_bps = max(self.estimate_bps, min(risen, 1.5 * arrives_bps + 10_000))
            if self._full_bps is not None and self.estimate_bps > NEAR_FULL[1] * self._full_bps:
                self._grown_bps, self._back_bps = GROWN * self._full_bps, self._most_bps
                self._full_bps = None
            self._most_bps = max(self._most_bps, self.estimate_bps)
        self._changed_ms = now_ms

    def hold(self, now_ms: int) -> None:
        """Wait."""
        self._changed_ms = now_ms

    def _near(self, full_bps: float) -> bool:
        return self.estimate_bps is not None and self.estimate_bps >= NEAR_FULL[0] * full_bps


class Estimator:
    """See the module. Stands where aiortc's receivers have an estimator each; one for all of a connection."""

    def __init__(self) -> None:
        self._arrivals = InterArrival((TIMESTAMP_GROUP_LENGTH_MS << INTER_ARRIVAL_SHIFT) // 1000, TIMESTAMP_TO_MS)
        self._filter, self._detector = OveruseEstimator(), OveruseDetector()
        self._throughput, self._loss = Throughput(), Loss()
        self._queue, self._rate = QueueDelay(), RateControl()
        self._streams: dict[int, int] = {}
        self._told_ms: int | None = None
        self._queue_ms = 0.0
        self._clear_ms = 0  # when no queue stood
        self._falls: list[float] = []
        self._last_timestamp: int | None = None

    @property
    def estimate_bps(self) -> float | None:
        """Bits per second, None before there is an estimate."""
        return self._rate.estimate_bps

    def lost(self, packets: int, now_ms: int) -> None:
        """Take note that so many packets are missing."""
        self._loss.add(0, packets, now_ms)

    def add(
        self, abs_send_time: int, arrival_time_ms: int, payload_size: int, ssrc: int
    ) -> tuple[int, list[int]] | None:
        """Take a packet that was sent at `abs_send_time` (24 bits, 1/2**18 s); return (bits per second, the SSRCs that
        share them) when it is time to tell."""
        now = arrival_time_ms
        self._streams[ssrc] = now
        self._throughput.add(payload_size, now)
        self._loss.add(1, 0, now)
        self._queue_ms = self._queue.add(now - self._unwrapped_ms(abs_send_time), now)
        if self._queue_ms <= STANDING_MS:
            self._clear_ms = now
        deltas = self._arrivals.compute_deltas(abs_send_time << 8, now, payload_size)
        if deltas is not None:
            sent_ms = deltas.timestamp * TIMESTAMP_TO_MS
            self._filter.update(deltas.arrival_time, sent_ms, deltas.size, self._detector.state(), now)
            self._detector.detect(self._filter.offset(), sent_ms, self._filter.num_of_deltas(), now)
        arrives = self._throughput.bps(now)
        if arrives is None:
            return None
        building, standing = self._queue_ms > BUILDING_MS, now - self._clear_ms >= QUEUED_MS
        due = self._told_ms is None or now - self._told_ms >= INTERVAL_MS
        if self._rate.settling(now):
            self._loss.forget()  # of what was sent before
            if not due:
                return None
            self._rate.hold(now)
        elif standing or self._spreads or self._loss.exceeds(TOO_MUCH_LOSS_QUEUED if building else TOO_MUCH_LOSS):
            self._loss.forget()
            self._note_fall(standing)
            self._rate.fall(self._throughput.queued_bps(now) if standing else arrives, self._queue_ms, now)
        elif not due:
            return None
        elif self._detector.state() == BandwidthUsage.NORMAL and not building:
            self._rate.rise(arrives, now)
        else:
            self._rate.hold(now)
        if self._rate.estimate_bps is None:
            return None
        self._told_ms = now
        self._streams = {s: at for s, at in self._streams.items() if now - at < 2000}
        return int(self._rate.estimate_bps), list(self._streams)

    @property
    def _spreads(self) -> bool:
        """Whether packets spread out on the way, and wait there."""
        return self._detector.state() == BandwidthUsage.OVERUSING and self._queue_ms > EMPTY_MS

    def _note_fall(self, standing: bool) -> None:
        """A queue that no fall shortens is none: the way has become longer."""
        self._falls = [*self._falls, self._queue_ms][-BELIEF:] if standing else []
        if len(self._falls) == BELIEF and min(self._falls) > 0.8 * max(self._falls):
            self._falls = []
            self._queue.rebase()

    def _unwrapped_ms(self, abs_send_time: int) -> float:
        if self._last_timestamp is not None:
            ahead = (abs_send_time - self._last_timestamp) & 0xFFFFFF
            abs_send_time = self._last_timestamp + (ahead if ahead < 0x800000 else ahead - 0x1000000)
        if self._last_timestamp is None or abs_send_time > self._last_timestamp:
            self._last_timestamp = abs_send_time
        return abs_send_time * 1000 / (1 << 18)
