"""`bench speech`: how good every speak policy is at which lag, on recorded speech, and which settings to use.

Settings are chosen on one half of the prompts and reported on the other, prompts by themselves and joined to streams
that are scored phrase by phrase (StreamLAAL). All is said against `offline` on whole prompts, phrase by phrase, with
the same model. Lag is on the virtual clock; see speech_run.py for what compute means there. Under `out`: table.md,
curve.svg, figures.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamsvc.bench.speech_data import CHOOSE, LANGUAGES, PROMPTS, REPORT, STREAMS, Source, sources
from streamsvc.bench.speech_grid import TARGETS, Setting, choose, grid, misses, named
from streamsvc.bench.speech_plot import Point, curves
from streamsvc.bench.speech_report import report
from streamsvc.bench.speech_run import Remembered, Run, interpret
from streamsvc.bench.speech_score import DRAWS, INTERVAL, Quality, Scored, figures
from streamsvc.ledger.conditions import conditions
from streamsvc.speech.errors import SpeechError
from streamsvc.speech.metrics import by_phrase
from streamsvc.speech.translator import Translator
from streamsvc.speech.vad import Detector

HALVES, KINDS = (CHOOSE, REPORT), (PROMPTS, STREAMS)
ALL = "all"
OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class SpeechBench:
    """What to run: `limit` prompts in each half of each language (None: all), alone, in streams or both (`kinds`),
    `policies` by name (none: all) or just these `settings` of any ("agreement n=2"), `draws` of the bootstrap; `model`
    as `interpret` takes it."""

    out: Path
    languages: tuple[str, ...] = LANGUAGES
    policies: tuple[str, ...] = ()
    kinds: tuple[str, ...] = KINDS
    limit: int | None = None
    model: str | None = None
    draws: int = DRAWS
    settings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Cell:
    """All runs of one setting on one kind of sources of one language and half."""

    scored: list[Scored] = field(default_factory=list)
    compute_s: float = 0.0
    source_s: float = 0.0
    faults: list[str] = field(default_factory=list)


_Data = dict[str, dict[tuple[str, str], list[Source]]]
"""By language, then by half and kind."""

_Cells = dict[tuple[str, str, str, str], _Cell]
"""By language, half, kind and setting."""


def run_speech(
    options: SpeechBench,
    tell: Callable[[str], None],
    progress: Callable[[float, float], None] | None = None,
    translator: Translator | None = None,
    detector: Callable[[], Detector] | None = None,
) -> dict[str, Any]:
    """Run the bench and return its figures; `tell` gets lines to read, `progress` (seconds of sound
    interpreted, and in all).

    `translator` and `detector` replace the model and the voice activity. Raises SpeechError or PolicyError for options
    that can't be run, SceneError when the recordings are missing.
    """
    unknown = [name for name in options.languages if name not in LANGUAGES]
    if unknown or not options.languages:
        raise SpeechError(f"there are no recordings in {', '.join(unknown) or 'no language'}; {', '.join(LANGUAGES)}")
    if not options.kinds or set(options.kinds) - set(KINDS):
        raise SpeechError(f"prompts are heard as {' or '.join(KINDS)}, not as {', '.join(options.kinds) or 'nothing'}")
    if options.limit is not None and options.limit < 1:
        raise SpeechError(f"at least one prompt in each half is needed, got {options.limit}")
    settings = named(options.settings) if options.settings else grid(options.policies)
    quality = Quality()
    data = {language: sources(language, options.limit) for language in options.languages}
    if translator is None:
        from streamsvc.speech.model import Whisper

        translator = Whisper(options.model)
    options.out.mkdir(parents=True, exist_ok=True)
    wanted = {kind: settings if kind in options.kinds else [] for kind in KINDS}
    # What everything is compared with.
    wanted[PROMPTS] = wanted[PROMPTS] or [s for s in settings if s.name == OFFLINE]
    cells = _interpret_all(wanted, data, translator, quality, tell, progress, detector)
    result = _figures(options, settings, data, cells, quality)
    (options.out / "figures.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (options.out / "curve.svg").write_text(_plot(result), "utf-8")
    lines = report(result)
    (options.out / "table.md").write_text("\n".join(lines) + "\n", "utf-8")
    for line in lines:
        tell(line)
    tell(f"wrote {options.out}/table.md, curve.svg and figures.json")
    return result


def _interpret_all(
    wanted: dict[str, list[Setting]],
    data: _Data,
    translator: Translator,
    quality: Quality,
    tell: Callable[[str], None],
    progress: Callable[[float, float], None] | None,
    detector: Callable[[], Detector] | None,
) -> _Cells:
    total = sum(s.seconds * len(wanted[k]) for found in data.values() for (_, k), part in found.items() for s in part)
    done = 0.0
    cells: _Cells = {}
    for language, found in data.items():
        for (half, kind), part in found.items():
            if not wanted[kind]:
                continue
            tell(f"{language}, {half}, {kind}: {len(part)} recordings, {len(wanted[kind])} settings")
            for source in part:
                # Another recording shares no sound with this one, so what is remembered can go.
                memory = Remembered(translator)
                for setting in wanted[kind]:
                    own = detector() if detector else None
                    run = interpret(memory, source, setting.policy, setting.parameters, own)
                    cell = cells.setdefault((language, half, kind, setting.name), _Cell())
                    _take(cell, source, run, quality)
                    done += source.seconds
                    if progress:
                        progress(done, total)
    return cells


def _take(cell: _Cell, source: Source, run: Run, quality: Quality) -> None:
    outputs = by_phrase(run.output, source.phrases)
    cell.scored.append(Scored.of(outputs, [p.reference for p in source.phrases], quality))
    cell.compute_s += run.compute_s
    cell.source_s += source.seconds
    cell.faults += [f"{source.name}: {fault}" for fault in run.faults]


def _figures(
    options: SpeechBench,
    settings: Sequence[Setting],
    data: _Data,
    cells: _Cells,
    quality: Quality,
) -> dict[str, Any]:
    groups: dict[str, tuple[str, ...]] = {language: (language,) for language in options.languages}
    if len(groups) > 1:
        groups[ALL] = options.languages
    rows: list[dict[str, Any]] = []
    for group, languages in groups.items():
        for half in HALVES:
            whole = _scored(cells, languages, half, PROMPTS, OFFLINE)
            for kind in options.kinds:
                for setting in settings:
                    own = [cells[language, half, kind, setting.name] for language in languages]
                    scored = _scored(cells, languages, half, kind, setting.name)
                    row = figures(scored, whole, quality, options.draws if half == REPORT else 0)
                    rows.append(
                        {"language": group, "half": half, "kind": kind, "setting": setting.name}
                        | {"policy": setting.policy, "phrases": len(scored.words), **row}
                        | {"real_time_factor": sum(c.compute_s for c in own) / sum(c.source_s for c in own)}
                    )
    top = list(groups)[-1]
    return {
        "conditions": conditions() | _own_conditions(options, data),
        "signatures": quality.signatures(),
        "settings": {s.name: {"policy": s.policy, "parameters": dict(s.parameters)} for s in settings},
        "rows": rows,
        "headlines": _headlines([r for r in rows if r["language"] == top]),
        "faults": sorted({fault for cell in cells.values() for fault in cell.faults}),
    }


def _scored(cells: _Cells, languages: Sequence[str], half: str, kind: str, setting: str) -> Scored:
    return Scored.together([s for language in languages for s in cells[language, half, kind, setting].scored])


def _headlines(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for each kind and target the row reported of the setting that was chosen on the other half."""
    found = []
    for kind in dict.fromkeys(r["kind"] for r in rows):
        own = {(r["half"], r["setting"]): r for r in rows if r["kind"] == kind}
        for target in TARGETS:
            first = [r for (half, _), r in own.items() if half == CHOOSE]
            chosen = choose(first, target, own[CHOOSE, OFFLINE]["word_ratio"])
            if chosen is None:
                found.append({"kind": kind, "target": target.name, "setting": None})
                continue
            row = own[REPORT, chosen["setting"]]
            offline = own[REPORT, OFFLINE]["word_ratio"]
            found.append(row | {"target": target.name, "misses": misses(row, target), "offline_word_ratio": offline})
    return found


def _own_conditions(options: SpeechBench, data: _Data) -> dict[str, str]:
    counts = []
    for language, found in data.items():
        for half in HALVES:
            part = found[half, PROMPTS]
            mean = sum(s.seconds for s in part) / len(part)
            counts.append(f"{language} {half} {len(part)} prompts of {mean:.1f} s on average")
    return {
        "model": options.model or "Whisper base, int8",
        "speech": "; ".join(counts)
        + " (Debian's asterisk-core-sounds), each alone and joined with 0.8 to 1.2 s between",
        "compute": "CPU time of one thread, on the virtual clock; what is known already is charged, not computed",
        "intervals": f"{INTERVAL:g} %, {options.draws} paired resamples of the phrases",
    }


def _plot(result: dict[str, Any]) -> str:
    top = result["rows"][-1]["language"]
    rows = [r for r in result["rows"] if r["language"] == top and r["half"] == REPORT]
    chosen = {(h["kind"], h["setting"]) for h in result["headlines"]}
    panels = {}
    for kind in dict.fromkeys(r["kind"] for r in rows):
        for lag, name in (("LAAL_CA", "with compute"), ("LAAL", "without")):
            panels[f"{kind}, {name}"] = [
                Point(
                    r[lag] / 1000,
                    100 * r["chrf_share"],
                    r["policy"] + (" (paper)" if " paper" in r["setting"] else ""),
                    r["setting"],
                    (kind, r["setting"]) in chosen,
                )
                for r in rows
                if r["kind"] == kind
            ]
    return curves("Quality against lag", panels, [(t.lag_ms / 1000, 100 * t.chrf_share) for t in TARGETS])
