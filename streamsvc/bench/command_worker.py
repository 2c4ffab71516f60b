"""The benches of what a worker computes: their flags, and what runs them."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from streamsvc.bench.entry import Bench
from streamsvc.flags import count, parameters, progress, size, tell, within, write_json


def _budget(arguments: argparse.Namespace) -> int:
    """Measure dispatcher, planner, cost model and admission live, with artificial stages or a worker's own."""
    _one_thread()
    from streamsvc.bench.budget_command import run

    write_json(arguments.json, run(arguments, tell))
    return 0


def _view(arguments: argparse.Namespace) -> int:
    """Measure the view: every rung's quality and cost."""
    _one_thread()
    from streamsvc.bench.view import ViewBench, quick, run_view

    rungs = tuple(filter(None, (arguments.rungs or "").split(",")))
    options = quick(arguments.out, rungs) if arguments.quick else ViewBench(arguments.out, rungs=rungs)
    if arguments.scenes is not None:
        options = replace(options, scenes=arguments.scenes)
    if arguments.size:
        options = replace(options, sizes=tuple(dict.fromkeys(arguments.size)))
    options = replace(options, weights=arguments.weights)
    figures = run_view(options, tell, progress("step"))
    write_json(arguments.json, figures)
    return 0


def _speech(arguments: argparse.Namespace) -> int:
    """Measure every speak policy: quality against lag."""
    _one_thread()
    if arguments.sessions is not None:
        return _calls(arguments)
    from streamsvc.bench.speech import SpeechBench, run_speech

    options = SpeechBench(
        arguments.out,
        tuple(filter(None, arguments.languages.split(","))),
        tuple(filter(None, (arguments.policies or "").split(","))),
        tuple(filter(None, arguments.kinds.split(","))),
        arguments.limit,
        arguments.model,
        settings=tuple(arguments.setting or ()),
    )
    figures = run_speech(options, tell, progress("second"))
    write_json(arguments.json, figures)
    return 1 if figures["faults"] else 0


def _calls(arguments: argparse.Namespace) -> int:
    from streamsvc.bench.speech_calls import CallsBench, run_calls

    options = CallsBench(
        arguments.out,
        arguments.sessions,
        arguments.minutes,
        tuple(filter(None, arguments.languages.split(","))),
        arguments.policy,
        parameters(arguments.set),
        arguments.speed,
        arguments.model,
    )
    write_json(arguments.json, run_calls(options, tell, progress("second")))
    return 0


def _one_thread() -> None:
    """Let figures be those of one thread; comes before torch and numpy's BLAS are loaded."""
    for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(pool, "1")


def _add_budget_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--what",
        dest="question",
        choices=("policies", "shock", "admission", "best-effort"),
        default="policies",
        help="ours beside rivals; costs that double; people who come; what gaps are good for (%(default)s)",
    )
    p.add_argument(
        "--real", action="store_true", help="a worker's own stages, or calls to a whole service (not shocks)"
    )
    p.add_argument("--scenario", type=Path, metavar="NAME", help="file, or one that ships (one-session or cost-shock)")
    p.add_argument("--sessions", type=count, metavar="N", help="1 to N of its first session, N callers (4; shock 2)")
    p.add_argument("--policy", action="append", metavar="NAME", help="only these; repeatable (the rivals and ours)")
    p.add_argument(
        "--seconds", type=within(2, 600), metavar="S", help="of each run (20; shock 30, admission 60; real policies 12)"
    )
    p.add_argument("--seed", type=count, default=1, help="of arrivals and noise (%(default)s)")
    p.add_argument("--out", type=Path, default=Path("out/bench-budget"), help="figures (%(default)s)")


def _add_view_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--quick", action="store_true", help="one scene at 320x240 and few repeats: a check, not a figure")
    p.add_argument("--scenes", type=int, metavar="N", help="held-out scenes (8)")
    p.add_argument("--size", type=size, action="append", help="of cameras and view; repeatable (320x240 and 640x480)")
    p.add_argument("--rungs", metavar="NAME,...", help="only these rungs, and the top classical one (all)")
    p.add_argument("--weights", type=Path, metavar="DIR", help="folder of the net's weights (those installed)")
    p.add_argument("--out", type=Path, default=Path("out/bench-view"), help="tables and pictures (%(default)s)")


def _add_speech_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--policies", metavar="NAME,...", help="only these, and offline (all)")
    p.add_argument(
        "--setting", action="append", metavar="TEXT", help='only this one, like "agreement n=2 beam=3"; repeatable'
    )
    p.add_argument("--languages", default="es,fr", metavar="XX,...", help="spoken (%(default)s)")
    p.add_argument(
        "--kinds", default="prompts,streams", metavar="KIND,...", help="prompts alone, or joined (%(default)s)"
    )
    p.add_argument("--limit", type=int, metavar="N", help="prompts in each half of each language (all)")
    p.add_argument("--model", help="directory, or name of a model (the installed one)")
    p.add_argument("--out", type=Path, default=Path("out/bench-speech"), help="tables and plot (%(default)s)")
    calls = p.add_argument_group("calls in real time, in place of the curve")
    calls.add_argument("--sessions", type=count, metavar="N", help="this many speakers at once, and one alone")
    calls.add_argument("--minutes", type=within(0.1, 1440), default=2.0, help="of each call (%(default)g)")
    calls.add_argument("--speed", type=within(0.5, 2), default=1.0, help="how much faster they speak (%(default)g)")
    calls.add_argument("--policy", default="agreement", help="speak policy (%(default)s)")
    calls.add_argument("--set", action="append", metavar="K=V", help="parameter of the policy; repeatable")


BENCHES = {
    "budget": Bench(
        "dispatcher and planner live: against other policies, shocks, joins, best effort", _budget, _add_budget_flags
    ),
    "view": Bench("the view alone: every rung's quality and cost on held-out scenes", _view, _add_view_flags),
    "speech": Bench("speech alone: every policy's quality and lag on recorded speech", _speech, _add_speech_flags),
}
