"""A worker's own stages, in process, under a load of prepared frames and voices: `Views` and `Speakers` over `Lanes`.

No WebRTC and no socket: the load is the worker's alone. A frame is due `DEADLINE_MS` after it was captured, at the end
of the worker; a word `LAG_S` after the end of the sound that its commit translates. What is captured in the first
`seconds` counts; the load goes on until the last of that is due.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from streamsvc.bench.budget_material import LANGUAGE, SIZE, Material, Voice, by_phrase
from streamsvc.budget import DEFAULT_POLICY, Class, Clock, MonotonicClock, Policy
from streamsvc.budget.goodput import Due
from streamsvc.budget.governor import GovernorStatistics
from streamsvc.budget.outcome import Cost, Outcome, SessionOutcome
from streamsvc.budget.planner import Plan
from streamsvc.frames import SPEECH_RATE, link
from streamsvc.speech import Translator
from streamsvc.speech.batcher import WIDTH, Batcher
from streamsvc.speech.interpret import BLOCK
from streamsvc.worker.lanes import Lanes
from streamsvc.worker.second import SecondPasses
from streamsvc.worker.speakers import Speakers
from streamsvc.worker.views import Views

if TYPE_CHECKING:
    from streamsvc.view.net.geometry import NetGeometry

DEADLINE_MS = 150.0
LAG_S = 5.0
LEAD_NS = 100_000_000
S = 1_000_000_000

Arrival = tuple[int, int, int, Callable[[], None]]
"""When (ns since the start), the number of the stream and in the stream, and what happens."""

MakeSecond = Callable[[Translator, Lanes], SecondPasses]


@dataclass(frozen=True, slots=True)
class Shift:
    """What a worker is given: `sessions` with a view at `fps` each and, where there are voices, a speaker."""

    sessions: int
    fps: float
    seconds: float
    policy: Policy = DEFAULT_POLICY
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Worked:
    """What came of a shift. `outcome.costs` are of lane time, `cpu` the same frames' of thread CPU time; speech's
    goodput counts words; `passes` are those that ended, `in_time` those of them that did within their deadline;
    `lags_s` of the words that were said."""

    outcome: Outcome
    cpu: tuple[Cost, ...]
    passes: int
    in_time: int
    lags_s: tuple[float, ...]
    troubles: tuple[str, ...]


@dataclass(slots=True)
class _Session:
    """What one session was due and got, ns since the start; a voice's commits as (end of the sound in ms, words, lag in
    s)."""

    voice: Voice | None
    views: list[Due] = field(default_factory=list)
    newest: int = -1
    said: list[tuple[float, int, float]] = field(default_factory=list)


class WorkerPlay:
    """One shift on lanes of its own; `run` once. `second` makes what runs as best effort."""

    def __init__(
        self,
        material: Material,
        shift: Shift,
        net: NetGeometry | None,
        translator: Translator | None,
        lanes: int,
        second: MakeSecond = SecondPasses,
    ) -> None:
        self._material, self._shift = material, shift
        clock = MonotonicClock()
        self._clock: Clock = clock
        self._lanes = Lanes(lanes, clock, replace(shift.policy.rules, together=WIDTH))
        self._views = Views(material.ring, self._lanes, clock, self._heard, net=net, policy=shift.policy)
        self._speakers: Speakers | None = None
        if translator is not None:
            batcher, best_effort = Batcher(translator), second(translator, self._lanes)
            self._speakers = Speakers(translator, None, self._lanes, clock, self._heard, batcher, best_effort)
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}
        self._costs: list[Cost] = []
        self._computes: list[Cost] = []
        self._passes = self._in_time = 0
        self._troubles: set[str] = set()
        self._zero = 0

    def run(self) -> Worked:
        """Feed the shift as it would arrive and return what came of it."""
        rig = self._material.rig.to_json()
        for number in range(self._shift.sessions):
            voice = self._material.voices[number] if self._speakers is not None else None
            self._sessions[str(number)] = _Session(voice)
            self._views.open(link.OpenView(stream=f"{number}/view", rig=rig, width=SIZE[0], height=SIZE[1]))
            if self._speakers is not None:
                self._speakers.open(link.OpenSpeech(stream=f"{number}/speech", source=LANGUAGE, spoken=False))
        self._lanes.start()
        self._zero = self._clock.now_ns() + LEAD_NS
        whole_s = self._shift.seconds + LAG_S
        for when, _, _, happen in heapq.merge(*self._arrivals(whole_s)):
            self._until(when)
            happen()
        self._until(round(whole_s * S))
        capacity = (self._clock.now_ns() - self._zero) * self._lanes.count
        busy = {kind: self._lanes.spent_ns(kind) / capacity for kind in Class}
        for number in range(self._shift.sessions):
            self._views.close(f"{number}/view")
        if self._speakers is not None:
            self._speakers.close_all()
        self._lanes.stop()
        with self._lock:
            return self._worked(busy)

    def _worked(self, busy: dict[Class, float]) -> Worked:
        floor = min(r.quality for r in self._material.ladder)
        sessions = tuple(
            SessionOutcome(
                name,
                tuple(d for d in s.views if d.captured_ns < self._shift.seconds * S),
                tuple(words_due(s.voice, s.said, self._shift.seconds)) if s.voice else (),
                floor,
            )
            for name, s in self._sessions.items()
        )
        outcome = Outcome(
            sessions,
            sum(busy.values()),
            busy[Class.BEST_EFFORT],
            self._lanes.statistics(),
            GovernorStatistics(Plan(), 0, 0),
            tuple(self._costs),
        )
        return Worked(
            outcome,
            tuple(self._computes),
            self._passes,
            self._in_time,
            tuple(lag for s in self._sessions.values() for _, words, lag in s.said for _ in range(words)),
            tuple(sorted(self._troubles)),
        )

    def _arrivals(self, whole_s: float) -> list[Iterator[Arrival]]:
        random = Random(self._shift.seed)
        period = S / self._shift.fps
        found = [self._frames(n, random.random() * period, whole_s) for n in range(self._shift.sessions)]
        if self._speakers is not None:
            found.append(self._sounds(whole_s))
        return found

    def _frames(self, session: int, first_ns: float, whole_s: float) -> Iterator[Arrival]:
        period = S / self._shift.fps
        for i in range(int((whole_s * S - first_ns) / period)):
            when = round(first_ns + i * period)
            yield when, session, i, partial(self._frame, session, i, when)

    def _sounds(self, whole_s: float) -> Iterator[Arrival]:
        for i in range(1, int(whole_s * SPEECH_RATE / BLOCK) + 1):
            yield round(i * BLOCK * S / SPEECH_RATE), -1, i, partial(self._sound, i)

    def _frame(self, session: int, number: int, when: int) -> None:
        due = Due(when, when + round(DEADLINE_MS * 1e6))
        with self._lock:
            self._sessions[str(session)].views.append(due)
        shown = self._material.number_at(number + 11 * session)
        width, height = SIZE
        captured = self._zero + when
        self._views.submit(
            link.SetIn(
                stream=f"{session}/view",
                id=number,
                capture_ns=captured,
                deadline_ns=self._zero + due.deadline_ns,
                period_ns=round(S / self._shift.fps),
                pictures=[
                    link.PictureIn(camera.name, 2 * shown + i, width, height, captured)
                    for i, camera in enumerate(self._material.rig.cameras)
                ],
            )
        )

    def _sound(self, block: int) -> None:
        assert self._speakers is not None
        end_ns = self._zero + round(block * BLOCK * S / SPEECH_RATE)
        for name, session in self._sessions.items():
            assert session.voice is not None
            samples = session.voice.samples[(block - 1) * BLOCK : block * BLOCK].astype("<f4").tobytes()
            self._speakers.sound(link.SoundIn(stream=f"{name}/speech", samples=samples, end_ns=end_ns))

    def _until(self, when: int) -> None:
        left = self._zero + when - self._clock.now_ns()
        if left > 0:
            time.sleep(left / S)

    def _heard(self, message: link.FromWorker) -> None:
        now = self._clock.now_ns() - self._zero
        match message:
            case link.ViewOut():
                self._views.give([message.slot])
                with self._lock:
                    self._shown(message, now)
            case link.Said():
                said = message.source_end_ms, len(message.text.split()), now / S - message.source_end_ms / 1000
                with self._lock:
                    self._sessions[message.stream.partition("/")[0]].said.append(said)
            case link.PassDone():
                with self._lock:
                    self._passes += 1
                    self._in_time += bool(message.stages) and now + self._zero <= message.deadline_ns
            case link.Trouble():
                with self._lock:
                    self._troubles.add(f"{message.code}: {message.message}")
            case _:
                pass

    def _shown(self, message: link.ViewOut, now: int) -> None:
        session = self._sessions[message.stream.partition("/")[0]]
        due = session.views[message.id]
        if message.id > session.newest:  # an older one than what is seen already is not shown
            session.newest = message.id
            session.views[message.id] = replace(due, displayed_ns=now, quality=message.quality, rung=message.rung)
        spans = [s for s in message.stages if s.name != "copy"]
        begun = spans[0].start_ns - self._zero
        self._costs.append(Cost(begun, message.predicted_ns, sum(s.end_ns - s.start_ns for s in spans)))
        self._computes.append(Cost(begun, message.predicted_compute_ns, message.compute_ns))


def words_due(voice: Voice, said: list[tuple[float, int, float]], seconds: float) -> list[Due]:
    """Return the words of each phrase that is over in `seconds`: those that were said in time, and those that weren't;
    `said` as in `_Session`. Words beyond what is due of a phrase count for nothing."""
    starts = [p.start_ms for p in voice.phrases]
    good = by_phrase(starts, [(end_ms, words) for end_ms, words, lag in said if lag <= LAG_S])
    found = []
    for phrase, words in zip(voice.phrases, good, strict=True):
        if phrase.end_ms > 1000 * seconds:
            continue
        captured = round(phrase.end_ms * 1e6)
        due = Due(captured, captured + round(LAG_S * S))
        in_time = min(words, phrase.words)
        for units, at in ((in_time, due.deadline_ns), (phrase.words - in_time, None)):
            if units:
                found.append(replace(due, units=units, displayed_ns=at))
    return found
