"""`streamsvc simulate`: scenario and ledger files in, a table of what each policy makes of them out.

Reads and checks files; the simulation itself is `budget.simulator`. Scenarios that ship lie in `scenarios/`, by name.
"""

from __future__ import annotations

import math
import tomllib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median, pstdev
from typing import Any

import msgspec

from streamsvc.budget.outcome import Outcome
from streamsvc.budget.policies import POLICIES
from streamsvc.budget.scenario import Noise, RungLoad, Scenario, SessionLoad
from streamsvc.budget.simulator import simulate
from streamsvc.errors import StreamsvcError
from streamsvc.ledger.reader import read_ledger
from streamsvc.ledger.records import Record

SHIPPED = Path(__file__).parent / "scenarios"


class ScenarioError(StreamsvcError):
    """A scenario, or costs for it, that can't be used; names the file, the key and what is accepted."""


@dataclass(frozen=True, slots=True)
class Row:
    """One policy over all seeds: means over sessions, but `worst` and `longest_gap_ms` of the worst session.

    Goodputs are shares (None: nothing was due), `quality` that of the frames that were made, `busy` and `best_effort`
    shares of all lanes; `video_by_second` the goodput of what was captured in each second, None where nothing was.
    """

    policy: str
    video: float | None
    speech: float | None
    worst: float | None
    quality: float | None
    switches_per_s: float
    longest_gap_ms: float | None
    busy: float
    best_effort: float
    video_by_second: tuple[float | None, ...]


def shipped() -> dict[str, Scenario]:
    """Return the scenarios that ship, by name."""
    return {path.stem: load_scenario(path) for path in sorted(SHIPPED.glob("*.toml"))}


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file, or one that ships by its name; raises ScenarioError."""
    here = SHIPPED / f"{path}.toml"
    file = here if not path.exists() and path.name == str(path) and here.exists() else path
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as e:
        names = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.toml")))
        raise ScenarioError(f"the scenario {path} can't be read: {e.strerror} (shipped: {names})") from None
    except UnicodeError:
        raise ScenarioError(f"the scenario {path} can't be read: it is not UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        raise ScenarioError(f"the scenario {path} is not TOML: {e}") from None
    try:
        scenario = msgspec.convert(document, Scenario)
    except msgspec.ValidationError as e:
        what, _, where = str(e).partition(" - at `$")
        key = where.rstrip("`").lstrip(".") or "the file"
        raise ScenarioError(f"the scenario {path}: {key}: {what}") from None
    _check(scenario, path)
    return scenario


def _check(scenario: Scenario, path: Path) -> None:
    for i, session in enumerate(scenario.sessions):
        where = f"the scenario {path}: sessions[{i}]"
        if session.view is None and session.speech is None:
            raise ScenarioError(f"{where} has neither a view nor speech")
        if session.leave_s is not None and session.leave_s <= session.join_s:
            raise ScenarioError(f"{where}.leave_s must be after join_s ({session.join_s:g}), not {session.leave_s:g}")
        if session.view is None:
            continue
        names = [r.name for r in session.view.rungs]
        if len(set(names)) < len(names):
            raise ScenarioError(f"{where}.view.rungs: a name is given twice")
        if session.view.cap is not None and session.view.cap not in names:
            raise ScenarioError(f"{where}.view.cap must be one of {', '.join(names)}, not {session.view.cap}")
        if all(r.quality < session.view.floor for r in session.view.rungs):
            raise ScenarioError(f"{where}.view.floor: no rung has a quality of {session.view.floor:g} or more")
    for i, shock in enumerate(scenario.shocks):
        if shock.to_s <= shock.from_s:
            raise ScenarioError(f"the scenario {path}: shocks[{i}].to_s must be after from_s ({shock.from_s:g})")


def with_costs(scenario: Scenario, path: Path) -> Scenario:
    """Return the scenario with the rungs, costs and noise that a ledger recorded; the floor is its lowest rung.

    Raises LedgerError for a damaged ledger, ScenarioError when it has impossible times or nothing to learn from.
    """
    views: dict[str, list[float]] = defaultdict(list)
    quality: dict[str, float] = {}
    encodes, decodes = [], []
    for record in read_ledger(path):
        spent = _stage_ms(record, path)
        if record.kind == "view" and record.rung is not None and record.quality is not None and spent:
            views[record.rung].append(sum(spent.values()))
            quality[record.rung] = record.quality
        elif record.kind == "speech" and "encode" in spent:
            encodes.append(spent["encode"])
            decodes.append(sum(ms for name, ms in spent.items() if name != "encode"))
    if not views:
        raise ScenarioError(f"the ledger {path} has no view with a rung and stages, so no costs to learn")
    rungs = tuple(
        RungLoad(name=name, cost_ms=max(1e-3, median(costs)), quality=quality[name]) for name, costs in views.items()
    )
    spread = [math.log(c / m) for costs in views.values() if (m := median(costs)) > 0 for c in costs if c > 0]
    noise = Noise(sigma=min(2.0, pstdev(sorted(spread)[: max(1, round(0.99 * len(spread)))])))

    def changed(session: SessionLoad) -> SessionLoad:
        view, speech = session.view, session.speech
        if view is not None:
            floor = min(r.quality for r in rungs)
            view = msgspec.structs.replace(view, rungs=rungs, floor=floor, cap=None)
        if speech is not None and encodes:
            token = max(1e-3, median(decodes) / speech.tokens)
            speech = msgspec.structs.replace(speech, encode_ms=max(1e-3, median(encodes)), token_ms=token)
        return msgspec.structs.replace(session, view=view, speech=speech)

    return msgspec.structs.replace(scenario, sessions=tuple(map(changed, scenario.sessions)), noise=noise)


def _stage_ms(record: Record, path: Path) -> dict[str, float]:
    spent: dict[str, float] = defaultdict(float)
    for stage in record.stages:
        ms = (stage.end_ns - stage.start_ns) / 1e6
        if not 0 <= ms <= 1e5:
            raise ScenarioError(
                f"the ledger {path}: stage {stage.name} of {record.session}/{record.stream} {record.id} takes {ms:g} "
                "ms; accepted are 0 to 100000"
            )
        spent[stage.name] += ms
    return spent


def run(
    scenario: Scenario,
    policies: Sequence[str],
    seeds: Sequence[int],
    progress: Callable[[float, float], None] | None = None,
) -> list[Row]:
    """Run a scenario under every policy with every seed; raises ScenarioError for an unknown policy."""
    rows = []
    for name in policies:
        if name not in POLICIES:
            raise ScenarioError(f"no policy is called {name!r}; there are {', '.join(POLICIES)}")
    for i, name in enumerate(policies):
        outcomes = []
        for j, seed in enumerate(seeds):
            outcomes.append(simulate(scenario, POLICIES[name], seed))
            if progress is not None:
                progress(i * len(seeds) + j + 1, len(policies) * len(seeds))
        rows.append(row_of(name, scenario.seconds, outcomes))
    return rows


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def row_of(policy: str, length_s: float, outcomes: Sequence[Outcome]) -> Row:
    """Return the row of a policy from its runs, each of `length_s`."""
    sessions = [s for o in outcomes for s in o.sessions]
    videos = [g for s in sessions if (g := s.view_goodput) is not None]
    speeches = [g for s in sessions if (g := s.speech_goodput) is not None]
    gaps = [g for s in sessions if (g := s.longest_gap_ns) is not None]
    seconds: list[list[bool]] = [[] for _ in range(math.ceil(length_s))]
    for s in sessions:
        for due in s.views:
            seconds[min(due.captured_ns // 1_000_000_000, len(seconds) - 1)].append(due.good(s.floor))
    return Row(
        policy=policy,
        video=_mean(videos),
        speech=_mean(speeches),
        worst=min(videos, default=None),
        quality=_mean([d.quality for s in sessions for d in s.views if d.quality is not None]),
        switches_per_s=fmean(s.switches for s in sessions) / length_s,
        longest_gap_ms=max(gaps) / 1e6 if gaps else None,
        busy=fmean(o.busy for o in outcomes),
        best_effort=fmean(o.best_effort for o in outcomes),
        video_by_second=tuple(_mean(flags) for flags in seconds),
    )


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text."""
    head = ("policy", "video", "speech", "worst video", "quality", "switches/s", "gap ms", "busy", "best effort")

    def cell(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    lines = [head] + [
        (
            r.policy,
            cell(r.video, ".3f"),
            cell(r.speech, ".3f"),
            cell(r.worst, ".3f"),
            cell(r.quality, ".3g"),
            cell(r.switches_per_s, ".2f"),
            cell(r.longest_gap_ms, ".0f"),
            cell(r.busy, ".2f"),
            cell(r.best_effort, ".2f"),
        )
        for r in rows
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )


def document(scenario: Scenario, rows: Sequence[Row], seeds: Sequence[int]) -> Mapping[str, Any]:
    """Return everything for machines."""
    return {"scenario": msgspec.to_builtins(scenario), "seeds": list(seeds), "policies": [asdict(r) for r in rows]}
