"""`streamsvc bench WHAT`: the flags of every bench, and what runs it.

Everything heavy is imported by the bench that needs it.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from streamsvc.flags import (
    Command,
    UsageError,
    add_extra_stage,
    check_files,
    count,
    parameters,
    progress,
    size,
    within,
    write_json,
)


def _session(arguments: argparse.Namespace) -> int:
    """Measure a whole session."""
    from streamsvc.bench.session import SessionBench, run_session

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    options = SessionBench(
        seconds=arguments.duration,
        cameras=arguments.cameras,
        size=arguments.size,
        fps=arguments.fps,
        budget_ms=arguments.budget,
        speech=not arguments.no_speech,
        browser=arguments.browser,
        extra_stage_ms=arguments.extra_stage_ms,
        out=arguments.out,
    )
    figures = asyncio.run(run_session(options, lambda line: print(line, flush=True)))
    write_json(arguments.json, figures)
    return 0


def _edge(arguments: argparse.Namespace) -> int:
    """Measure our edge against stock aiortc: one-way latency of video, camera to decoded picture."""
    from streamsvc.bench.edge import SIZES, EdgeBench, run_edge

    options = EdgeBench(
        arguments.out,
        tuple(dict.fromkeys(arguments.size or SIZES)),
        arguments.codec,
        arguments.fps,
        arguments.seconds,
        arguments.repeats,
    )
    figures = asyncio.run(run_edge(options, lambda line: print(line, flush=True)))
    write_json(arguments.json, figures)
    return 0


def _network(arguments: argparse.Namespace) -> int:
    """Measure our edge against stock aiortc on networks that lose and delay packets."""
    from streamsvc.bench.edge_figures import OURS, STOCK
    from streamsvc.bench.network import COMPARED, NetworkBench, run_network

    options = NetworkBench(
        out=arguments.out,
        networks=tuple(dict.fromkeys(arguments.network or COMPARED)),
        sides=(OURS,) if arguments.no_stock else (OURS, STOCK),
        size=arguments.size,
        codec=arguments.codec,
        fps=arguments.fps,
        seconds=arguments.seconds,
        seed=arguments.seed,
        voice=arguments.voice,
        consumer_ms=arguments.consumer,
    )
    figures = asyncio.run(run_network(options, lambda line: print(line, flush=True)))
    write_json(arguments.json, figures)
    return 0


def _capacity(arguments: argparse.Namespace) -> int:
    """Measure what a call costs when nothing is computed."""
    from streamsvc.bench.capacity import CapacityBench, run_capacity

    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    options = CapacityBench(arguments.out, arguments.sessions, arguments.size, arguments.fps, arguments.seconds)
    figures = asyncio.run(run_capacity(options, lambda line: print(line, flush=True)))
    write_json(arguments.json, figures)
    return 0


def _cameras(arguments: argparse.Namespace) -> int:
    """Measure at which size and rate Chromium sends several cameras."""
    from streamsvc.bench.cameras import CamerasBench, run_cameras

    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    options = CamerasBench(
        out=arguments.out,
        cameras=arguments.cameras,
        size=arguments.size,
        fps=arguments.fps,
        seconds=arguments.seconds,
        stock=not arguments.no_stock,
    )
    write_json(arguments.json, asyncio.run(run_cameras(options, lambda line: print(line, flush=True))))
    return 0


def _page(arguments: argparse.Namespace) -> int:
    """Measure the page: work a picture, and memory over a long call."""
    from streamsvc.bench.page import PageBench, run_page

    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    options = PageBench(arguments.out, arguments.minutes, arguments.charts)
    write_json(arguments.json, asyncio.run(run_page(options, lambda line: print(line, flush=True))))
    return 0


def _eyes(arguments: argparse.Namespace) -> int:
    """Measure how the page finds and follows its viewer's eyes."""
    from streamsvc.bench.eyes import EyesBench, run_eyes

    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    options = EyesBench(arguments.out, arguments.people, arguments.seconds)
    write_json(arguments.json, asyncio.run(run_eyes(options, lambda line: print(line, flush=True))))
    return 0


def _joins(arguments: argparse.Namespace) -> int:
    """Let people come and go, and look what they leave behind; exit status 1 when that is something."""
    from streamsvc.bench.joins import JoinsBench, run_joins

    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    options = JoinsBench(arguments.out, arguments.minutes, arguments.at_once, seed=arguments.seed)
    figures = asyncio.run(run_joins(options, lambda line: print(line, flush=True)))
    write_json(arguments.json, figures)
    return 1 if figures["grown"] or figures["calls"]["failed"] else 0


def _services(arguments: argparse.Namespace) -> int:
    """Measure our service beside public ones; exit status 1 when one of them could not be measured."""
    from streamsvc.bench.services import NAMES, STAGES_MS, ServicesBench, run_services

    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    if unknown := set(arguments.only or ()) - set(NAMES):
        raise UsageError(f"--only {min(unknown)}: there are {', '.join(NAMES)}")
    options = ServicesBench(
        out=arguments.out,
        services=tuple(dict.fromkeys(arguments.only or NAMES)),
        stages_ms=tuple(dict.fromkeys(arguments.stage or STAGES_MS)),
        size=arguments.size,
        fps=arguments.fps,
        seconds=arguments.seconds,
        budget_ms=arguments.budget,
    )
    figures = asyncio.run(run_services(options, lambda line: print(line, flush=True)))
    write_json(arguments.json, figures)
    return 1 if figures["failures"] else 0


def _budget(arguments: argparse.Namespace) -> int:
    """Measure dispatcher, planner, cost model and admission live, with artificial stages or a worker's own."""
    _one_thread()
    from streamsvc.bench.budget_command import run

    write_json(arguments.json, run(arguments, lambda line: print(line, flush=True)))
    return 0


def _one_thread() -> None:
    """Let figures be those of one thread; comes before torch and numpy's BLAS are loaded."""
    for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(pool, "1")


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
    figures = run_view(options, lambda line: print(line, flush=True), progress("step"))
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
    figures = run_speech(options, lambda line: print(line, flush=True), progress("second"))
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
    write_json(arguments.json, run_calls(options, lambda line: print(line, flush=True), progress("second")))
    return 0


def _add_session_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--duration", type=within(1, 1e6), default=300.0, metavar="S", help="seconds (%(default)g)")
    p.add_argument("--cameras", type=int, default=2, choices=(2, 4))
    p.add_argument("--size", type=size, default=(320, 240), help="of cameras and view (320x240)")
    p.add_argument("--fps", type=within(1, 120), default=15.0, help="of the cameras (%(default)g)")
    p.add_argument(
        "--budget", type=within(20, 5000), default=400.0, metavar="MS", help="capture to display (%(default)g)"
    )
    p.add_argument("--no-speech", action="store_true", help="cameras only")
    p.add_argument("--browser", action="store_true", help="the viewer is headless Chromium instead of our own peer")
    p.add_argument("--out", type=Path, default=Path("out/bench"), help="ledger and report (%(default)s)")
    add_extra_stage(p)


def _video_size(text: str) -> tuple[int, int]:
    width, height = size(text)
    if width < 160 or height < 120 or width % 2 or height % 2:
        raise argparse.ArgumentTypeError(f"even sides from 160x120 are accepted, got {text!r}")
    return width, height


def _add_edge_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--size", type=_video_size, action="append", help="of the video; repeatable (320x240, 640x480 and 1280x720)"
    )
    p.add_argument("--codec", choices=("VP8", "H264"), default="VP8", help="of both sides (%(default)s)")
    p.add_argument("--fps", type=within(15, 60), default=30.0, help="15 to 60 (%(default)g)")
    p.add_argument("--seconds", type=within(1, 120), default=20.0, metavar="S", help="of each run (%(default)g)")
    p.add_argument("--repeats", type=count, default=2, metavar="N", help="runs of each side, in turn (%(default)s)")
    p.add_argument("--out", type=Path, default=Path("out/bench-edge"), help="figures and plot (%(default)s)")


def _add_network_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--network",
        action="append",
        metavar="NAME|RULES",
        help="clean, lossy, bursty, lost-twice, narrowing, mobile, or rules like delay=50,loss=5; repeatable "
        "(lost-twice and lossy)",
    )
    p.add_argument("--no-stock", action="store_true", help="our edge alone")
    p.add_argument("--voice", action="store_true", help="speak beside the picture, and count the words that arrive")
    p.add_argument(
        "--consumer",
        type=within(0, 1000),
        default=0.0,
        metavar="MS",
        help="what a consumer takes a picture (%(default)g)",
    )
    p.add_argument("--size", type=size, default=(640, 480), metavar="WxH", help="of the picture (640x480)")
    p.add_argument("--codec", choices=("VP8", "H264"), default="VP8", help="of both sides (%(default)s)")
    p.add_argument("--fps", type=within(15, 60), default=30.0, help="15 to 60 (%(default)g)")
    p.add_argument("--seconds", type=within(4, 600), default=60.0, metavar="S", help="of each run (%(default)g)")
    p.add_argument("--seed", type=count, default=1, help="of what is lost (%(default)s)")
    p.add_argument("--out", type=Path, default=Path("out/bench-network"), help="figures and plot (%(default)s)")


def _add_capacity_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--sessions", type=count, default=4, metavar="N", help="1 to N calls at once (%(default)s)")
    p.add_argument("--size", type=size, default=(640, 480), metavar="WxH", help="of camera and view (640x480)")
    p.add_argument("--fps", type=within(1, 60), default=30.0, help="of the camera (%(default)g)")
    p.add_argument("--seconds", type=within(2, 600), default=20.0, metavar="S", help="of each case (%(default)g)")
    p.add_argument("--out", type=Path, default=Path("out/bench-capacity"), help="figures (%(default)s)")


def _add_cameras_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--cameras", type=int, default=4, choices=(2, 4), help="from one page (%(default)s)")
    p.add_argument("--size", type=size, default=(640, 480), metavar="WxH", help="of each (640x480)")
    p.add_argument("--fps", type=within(1, 60), default=30.0, help="of each (%(default)g)")
    p.add_argument("--seconds", type=within(2, 600), default=60.0, metavar="S", help="of each side (%(default)g)")
    p.add_argument("--no-stock", action="store_true", help="our edge alone")
    p.add_argument("--out", type=Path, default=Path("out/bench-cameras"), help="figures (%(default)s)")


def _add_page_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--minutes", type=within(0.2, 600), default=60.0, metavar="MIN", help="of the call (%(default)g)")
    p.add_argument("--charts", action="store_true", help="with the charts behind the meter open")
    p.add_argument("--out", type=Path, default=Path("out/bench-page"), help="figures (%(default)s)")


def _add_eyes_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--people", type=count, default=4, metavar="N", help="faces that are filmed (%(default)s)")
    p.add_argument(
        "--seconds", type=within(10, 600), default=30.0, metavar="S", help="of each movement in a call (%(default)g)"
    )
    p.add_argument("--out", type=Path, default=Path("out/bench-eyes"), help="figures (%(default)s)")


def _add_joins_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--minutes", type=within(0.1, 600), default=30.0, metavar="MIN", help="of coming and going (%(default)g)"
    )
    p.add_argument("--at-once", type=count, default=3, metavar="N", help="calls at a time (%(default)s)")
    p.add_argument("--seed", type=count, default=1, help="of how long they last (%(default)s)")
    p.add_argument("--out", type=Path, default=Path("out/bench-joins"), help="figures (%(default)s)")


def _add_services_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--only", action="append", metavar="NAME", help="only this service; repeatable (ours and all others)"
    )
    p.add_argument(
        "--stage",
        type=within(0, 1000),
        action="append",
        metavar="MS",
        help="what a device takes a picture; repeatable (0, 20 and 60)",
    )
    p.add_argument("--size", type=_video_size, default=(640, 480), metavar="WxH", help="of camera and view (640x480)")
    p.add_argument("--fps", type=within(5, 60), default=30.0, help="of the camera (%(default)g)")
    p.add_argument("--seconds", type=within(2, 600), default=20.0, metavar="S", help="of each run (%(default)g)")
    p.add_argument("--budget", type=within(20, 5000), default=150.0, metavar="MS", help="what is in time (%(default)g)")
    p.add_argument("--out", type=Path, default=Path("out/bench-services"), help="figures, plot, logs (%(default)s)")


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


BENCHES: dict[str, tuple[str, Command, Callable[[argparse.ArgumentParser], None]]] = {
    "session": ("a whole call, cameras to display, with speech", _session, _add_session_flags),
    "capacity": ("calls in which nothing is computed: sessions a core", _capacity, _add_capacity_flags),
    "joins": ("people who come and go, some without goodbye: what they leave behind", _joins, _add_joins_flags),
    "network": ("video over networks that lose and delay: our edge beside stock aiortc", _network, _add_network_flags),
    "cameras": ("several cameras from one page of Chromium: size and rate", _cameras, _add_cameras_flags),
    "page": ("the page in Chromium: work a picture, memory over a long call", _page, _add_page_flags),
    "eyes": (
        "the page's eye tracker: found, how exactly, how fast; how late the picture follows",
        _eyes,
        _add_eyes_flags,
    ),
    "edge": ("video over WebRTC: our edge's latency against stock aiortc's", _edge, _add_edge_flags),
    "services": ("our service beside public ones, with a slow stage in each", _services, _add_services_flags),
    "budget": (
        "dispatcher and planner live: against other policies, shocks, joins, best effort",
        _budget,
        _add_budget_flags,
    ),
    "view": ("the view alone: every rung's quality and cost on held-out scenes", _view, _add_view_flags),
    "speech": (
        "speech alone: every policy's quality and lag on recorded speech",
        _speech,
        _add_speech_flags,
    ),
}


def bench(arguments: argparse.Namespace) -> int:
    """Measure what the README quotes."""
    check_files(arguments, folders=("out",))
    return BENCHES[arguments.what][1](arguments)


def add_flags(p: argparse.ArgumentParser) -> None:
    """Add a command for every bench."""
    kinds = p.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, (text, _, add) in BENCHES.items():
        kind = kinds.add_parser(name, help=text, description=text)
        add(kind)
        # Suppressed, so that it doesn't undo what was given before the name.
        kind.add_argument(
            "--json", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="write the figures there for machines"
        )
