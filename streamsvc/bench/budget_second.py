"""What a worker's best effort recovers beside one session, and what it costs that session.

A worker's best effort are the second passes over phrases that are over. Those alone are little, so in a third run there
is always one more to do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamsvc.bench.budget import save
from streamsvc.bench.budget_best_effort import COLUMNS, columns
from streamsvc.bench.budget_material import LANGUAGE, Material
from streamsvc.bench.budget_real import LANES, LOADS, open_stages, rate
from streamsvc.bench.budget_worker import MakeSecond, Shift, WorkerPlay
from streamsvc.bench.view_report import table
from streamsvc.budget.policies import DEFAULT_POLICY
from streamsvc.frames import SPEECH_RATE
from streamsvc.speech import Translator
from streamsvc.speech.events import Passage
from streamsvc.worker.lanes import Lanes
from streamsvc.worker.second import SecondPasses


def run_second(out: Path, seconds: float, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run a worker's stages with one session without second passes, with them, and with more than there is time for;
    raises what `open_stages` raises."""
    stages = open_stages(1, seconds, tell)
    fps = rate(LOADS[0], 1, stages.material)

    def endless(translator: Translator, lanes: Lanes) -> SecondPasses:
        return Endless(translator, lanes, first_passage(stages.material))

    kinds: tuple[tuple[str, MakeSecond], ...] = (
        ("none", NoSecond),
        ("second passes", SecondPasses),
        ("always one more", endless),
    )
    rows = []
    for name, second in kinds:
        shift = Shift(1, fps, seconds, DEFAULT_POLICY, seed)
        worked = WorkerPlay(stages.material, shift, stages.net, stages.translator, LANES, second).run()
        rows.append({"runs": name, "load": LOADS[0], "fps": fps, **columns(worked.outcome, seconds)})
    for line in table(rows, COLUMNS, ("runs",)):
        tell(line)
    return save(out, "budget-real-best-effort", {"seconds": seconds, "rows": rows}, {})


class NoSecond(SecondPasses):
    """Translates nothing again."""

    def add(self, stream: str, passage: Passage, threshold: float, on_text: Callable[[str], None]) -> None:
        """See SecondPasses."""


class Endless(SecondPasses):
    """Has always more to do for the first speaker: `passage`, from the start and whenever nothing else waits."""

    def __init__(self, translator: Translator, lanes: Lanes, passage: Passage) -> None:
        super().__init__(translator, lanes)
        self._again = passage
        self.add("0/speech", passage, 0.0, lambda _: None)

    def _next(self, stream: str) -> None:
        with self._lock:
            waiting = self._waiting.get(stream)
            if waiting is not None and not waiting:
                waiting.append((self._again, 0.0, lambda _: None))
        super()._next(stream)


def first_passage(material: Material) -> Passage:
    """Return the first phrase of the first voice."""
    voice = material.voices[0]
    audio = voice.samples[: round(voice.phrases[0].end_ms * SPEECH_RATE / 1000)]
    return Passage((0,), "", audio, LANGUAGE, (), ())
