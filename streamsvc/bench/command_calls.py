"""The benches of whole calls: their flags, and what runs them."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from streamsvc.bench.entry import Bench, measured
from streamsvc.flags import add_extra_stage, count, size, tell, within


def _session(arguments: argparse.Namespace) -> int:
    """Measure a whole session."""
    from streamsvc.bench.session import SessionBench, run_session

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
    measured(arguments, run_session(options, tell), level=logging.WARNING)
    return 0


def _capacity(arguments: argparse.Namespace) -> int:
    """Measure what a call costs when nothing is computed."""
    from streamsvc.bench.capacity import CapacityBench, run_capacity

    options = CapacityBench(arguments.out, arguments.sessions, arguments.size, arguments.fps, arguments.seconds)
    measured(arguments, run_capacity(options, tell))
    return 0


def _joins(arguments: argparse.Namespace) -> int:
    """Let people come and go, and look what they leave behind; exit status 1 when that is something."""
    from streamsvc.bench.joins import JoinsBench, run_joins

    options = JoinsBench(arguments.out, arguments.minutes, arguments.at_once, seed=arguments.seed)
    figures = measured(arguments, run_joins(options, tell))
    return 1 if figures["grown"] or figures["calls"]["failed"] else 0


def _cameras(arguments: argparse.Namespace) -> int:
    """Measure at which size and rate Chromium sends several cameras."""
    from streamsvc.bench.cameras import CamerasBench, run_cameras

    options = CamerasBench(
        out=arguments.out,
        cameras=arguments.cameras,
        size=arguments.size,
        fps=arguments.fps,
        seconds=arguments.seconds,
        stock=not arguments.no_stock,
    )
    measured(arguments, run_cameras(options, tell))
    return 0


def _page(arguments: argparse.Namespace) -> int:
    """Measure the page: work a picture, and memory over a long call."""
    from streamsvc.bench.page import PageBench, run_page

    options = PageBench(arguments.out, arguments.minutes, arguments.charts)
    measured(arguments, run_page(options, tell))
    return 0


def _eyes(arguments: argparse.Namespace) -> int:
    """Measure how the page finds and follows its viewer's eyes."""
    from streamsvc.bench.eyes import EyesBench, run_eyes

    options = EyesBench(arguments.out, arguments.people, arguments.seconds)
    measured(arguments, run_eyes(options, tell))
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


def _add_capacity_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument("--sessions", type=count, default=4, metavar="N", help="1 to N calls at once (%(default)s)")
    p.add_argument("--size", type=size, default=(640, 480), metavar="WxH", help="of camera and view (640x480)")
    p.add_argument("--fps", type=within(1, 60), default=30.0, help="of the camera (%(default)g)")
    p.add_argument("--seconds", type=within(2, 600), default=20.0, metavar="S", help="of each case (%(default)g)")
    p.add_argument("--out", type=Path, default=Path("out/bench-capacity"), help="figures (%(default)s)")


def _add_joins_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--minutes", type=within(0.1, 600), default=30.0, metavar="MIN", help="of coming and going (%(default)g)"
    )
    p.add_argument("--at-once", type=count, default=3, metavar="N", help="calls at a time (%(default)s)")
    p.add_argument("--seed", type=count, default=1, help="of how long they last (%(default)s)")
    p.add_argument("--out", type=Path, default=Path("out/bench-joins"), help="figures (%(default)s)")


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


BENCHES = {
    "session": Bench("a whole call, cameras to display, with speech", _session, _add_session_flags),
    "capacity": Bench("calls in which nothing is computed: sessions a core", _capacity, _add_capacity_flags),
    "joins": Bench("people who come and go, some without goodbye: what they leave behind", _joins, _add_joins_flags),
    "cameras": Bench("several cameras from one page of Chromium: size and rate", _cameras, _add_cameras_flags),
    "page": Bench("the page in Chromium: work a picture, memory over a long call", _page, _add_page_flags),
    "eyes": Bench(
        "the page's eye tracker: found, how exactly, how fast; how late the picture follows", _eyes, _add_eyes_flags
    ),
}
