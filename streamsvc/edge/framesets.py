"""Frame sets: the pictures that several cameras took at one instant, put together on the capture clock. Pure.

Rules. The newest complete set wins and everything older goes on *all* cameras (an instant is dropped whole). Complete
means every camera that is *present*; a camera that owes a picture for longer than the bounded wait is left out of
this and the following sets. It comes back by itself: pictures that come in time, that is within the wait of the first
picture of their instant, make it present again; a camera that keeps failing must deliver in time for longer each time
(1, 2, 4, ... 32 pictures), so that a camera that is late for ever does not cost a wait over and over.

Pictures belong together when their capture times differ by at most half the (estimated) period. A camera that runs at a
lower rate thins the sets to its own rate; it is not late for an instant that it has no picture of. A set none of whose
pictures came within the wait doesn't leave at all.

Invariants: sets leave with rising capture times; a picture is in at most one set; at most `MAX_PENDING` pictures of a
camera are held.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_PENDING = 8
MAX_PATIENCE = 32
CLOCK_JUMP_NS = 1_000_000_000
_HISTORY = 64
_SMOOTHING = 0.1
_MIN_PERIOD_NS = 4_000_000
_MAX_PERIOD_NS = 1_000_000_000


@dataclass(slots=True)
class _Camera(Generic[T]):
    pending: deque[tuple[int, int, T]] = field(default_factory=deque)  # (capture, arrival, frame), captures rising
    present: bool = True
    last_capture_ns: int | None = None
    period_ns: float = 0.0
    odd_step_ns: int = 0
    in_time: int = 0
    patience: int = 1
    sets_since_return: int = 0

    def learn(self, step_ns: int) -> None:
        """Follow the period with the time between two pictures. One far from it is a gap; two alike are another
        rate."""
        if self.period_ns / 4 < step_ns < self.period_ns * 4:
            self._set_period(self.period_ns + _SMOOTHING * (step_ns - self.period_ns))
            self.odd_step_ns = 0
        elif self.odd_step_ns / 2 < step_ns < self.odd_step_ns * 2:
            self._set_period(step_ns)
            self.odd_step_ns = 0
        else:
            self.odd_step_ns = step_ns

    def _set_period(self, period_ns: float) -> None:
        self.period_ns = min(max(period_ns, _MIN_PERIOD_NS), _MAX_PERIOD_NS)


class FrameSets(Generic[T]):
    """See the module. `period_ns` is a first guess of the cameras' period, `wait_ns` the bound of the wait,
    which may be set anew at any time.

    `counts`, which several may share: "sets" left, "partial" of them without some camera; "dropped" pictures were
    overtaken by a newer set, "late" ones came after their instant had left; "waits" ran out.
    """

    def __init__(
        self, cameras: Sequence[str], period_ns: int, wait_ns: int, counts: Counter[str] | None = None
    ) -> None:
        if not cameras or len(set(cameras)) != len(cameras):
            raise ValueError("cameras must be different names, at least one")
        if period_ns <= 0 or wait_ns < 0:
            raise ValueError("the period must be positive and the wait not negative")
        self._names = tuple(cameras)
        self._cameras: dict[str, _Camera[T]] = {name: _Camera(period_ns=float(period_ns)) for name in cameras}
        self.wait_ns = wait_ns
        self._arrivals: deque[tuple[int, int]] = deque(maxlen=_HISTORY)  # (instant, first arrival), of all cameras
        self._last_ns: int | None = None
        self.counts = Counter() if counts is None else counts

    @property
    def present(self) -> tuple[str, ...]:
        """The cameras that sets are made of now."""
        return tuple(n for n in self._names if self._cameras[n].present)

    @property
    def period_ns(self) -> int:
        """The period of the slowest camera that is present, estimated from capture times."""
        periods = [c.period_ns for c in self._cameras.values() if c.present]
        return round(max(periods or [c.period_ns for c in self._cameras.values()]))

    @property
    def tolerance_ns(self) -> int:
        """How far apart the pictures of one set may be: half a period."""
        return self.period_ns // 2

    def put(self, camera: str, capture_ns: int, frame: T, now_ns: int) -> None:
        """Take a picture; `capture_ns` on the capture clock, `now_ns` when it arrived. Raises KeyError for an unknown
        name."""
        state = self._cameras[camera]
        newest = max((c.last_capture_ns for c in self._cameras.values() if c.last_capture_ns is not None), default=None)
        if newest is not None and capture_ns < newest - CLOCK_JUMP_NS:
            if state.last_capture_ns is None or capture_ns > state.last_capture_ns:
                self.counts["late"] += 1
                return
            self._restart()
        if state.last_capture_ns is not None:
            step = capture_ns - state.last_capture_ns
            if step <= 0:
                self.counts["late"] += 1
                return
            state.learn(step)
            if step > 4 * state.period_ns:
                state.in_time = 0
        state.last_capture_ns = capture_ns
        first_ns = self._first_arrival(capture_ns, now_ns)
        self._consider_return(state, now_ns - first_ns)
        if self._last_ns is not None and capture_ns <= self._last_ns + self._leftover_ns():
            self.counts["late"] += 1
            return
        state.pending.append((capture_ns, now_ns, frame))
        if len(state.pending) > MAX_PENDING:
            state.pending.popleft()
            self.counts["dropped"] += 1

    def take(self, now_ns: int) -> tuple[int, dict[str, T]] | None:
        """Return (capture time of the earliest picture, pictures by camera in the order of the cameras), or None.

        Call it after each `put` and at `next_wake_ns`.
        """
        self._exclude(now_ns)
        chosen = self._newest_complete(now_ns)
        if chosen is None:
            return None
        anchor = max(capture for capture, _, _ in chosen.values())
        for name, state in self._cameras.items():
            used = chosen.get(name)
            limit = used[0] if used is not None else anchor
            while state.pending and state.pending[0][0] <= limit:
                if state.pending.popleft() is not used:
                    self.counts["dropped"] += 1
            if state.present:
                state.sets_since_return += 1
                if state.sets_since_return > 4 * MAX_PATIENCE:
                    state.patience = 1
        first = min(capture for capture, _, _ in chosen.values())
        self._last_ns = anchor
        self.counts["sets"] += 1
        self.counts["partial"] += len(chosen) < len(self._names)
        return first, {name: chosen[name][2] for name in self._names if name in chosen}

    def next_wake_ns(self) -> int | None:
        """Return when a wait runs out and `take` may have a set without any new `put`; None when nothing waits."""
        wakes = [
            arrival + self.wait_ns
            for state in self._cameras.values()
            for capture, arrival, _ in state.pending
            if state.present and self._owing(capture)
        ]
        return min(wakes, default=None)

    def _restart(self) -> None:
        """The capture clock was set back: forget everything that lies in its future."""
        for state in self._cameras.values():
            self.counts["dropped"] += len(state.pending)
            state.pending.clear()
            state.last_capture_ns = None
        self._arrivals.clear()
        self._last_ns = None

    def _leftover_ns(self) -> int:
        # A picture just behind the last set's newest one is a straggler of that instant, not the next instant.
        return self.tolerance_ns // 2 if len(self._names) > 1 else 0

    def _first_arrival(self, capture_ns: int, now_ns: int) -> int:
        """Return when the first picture of this instant arrived, noting this one if it is the first."""
        tolerance = self.tolerance_ns
        near = [(abs(at - capture_ns), arrival) for at, arrival in self._arrivals if abs(at - capture_ns) <= tolerance]
        if near:
            return min(near)[1]
        self._arrivals.append((capture_ns, now_ns))
        return now_ns

    def _consider_return(self, state: _Camera[T], lag_ns: int) -> None:
        state.in_time = state.in_time + 1 if lag_ns <= self.wait_ns else 0
        if not state.present and state.in_time >= state.patience:
            state.present = True
            state.sets_since_return = 0

    def _owing(self, capture_ns: int) -> list[_Camera[T]]:
        """Return the present cameras that have no picture for this instant though one is due."""
        tolerance = self.tolerance_ns
        # Of a faster camera only the picture next to the one that is due waits for it.
        nearest = min(c.period_ns for c in self._cameras.values() if c.present) / 2
        owing = []
        for state in self._cameras.values():
            if not state.present or any(abs(c - capture_ns) <= tolerance for c, _, _ in state.pending):
                continue
            last = state.last_capture_ns
            if last is None or last + state.period_ns <= capture_ns + nearest:
                owing.append(state)
        return owing

    def _exclude(self, now_ns: int) -> None:
        for state in list(self._cameras.values()):
            for capture, arrival, _ in list(state.pending):
                if not state.present or now_ns - arrival < self.wait_ns:
                    continue
                for late in self._owing(capture):
                    # At least one camera holds the picture that is waited for, so somebody always stays.
                    late.present = False
                    self.counts["waits"] += 1
                    late.in_time = 0
                    if late.sets_since_return < 4 * MAX_PATIENCE and late.last_capture_ns is not None:
                        late.patience = min(2 * late.patience, MAX_PATIENCE)

    def _newest_complete(self, now_ns: int) -> dict[str, tuple[int, int, T]] | None:
        present = self.present
        if not present:
            return None
        tolerance = self.tolerance_ns
        # Of a faster camera each picture of the slowest one has several within the tolerance, of which one is nearest.
        slowest = max(present, key=lambda name: self._cameras[name].period_ns)
        for anchor in reversed(self._cameras[slowest].pending):
            chosen = {slowest: anchor}
            for name in (n for n in present if n != slowest):
                near = [p for p in self._cameras[name].pending if abs(p[0] - anchor[0]) <= tolerance]
                if not near:
                    break
                chosen[name] = min(near, key=lambda p: abs(p[0] - anchor[0]))
            else:
                # Complete only now, because one camera skipped it and was left out over a later one: too old to show.
                stale = all(now_ns - arrival > self.wait_ns for _, arrival, _ in chosen.values())
                return None if stale else chosen
        return None
