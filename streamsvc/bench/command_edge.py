"""The benches of the edge and of services beside others: their flags, and what runs them."""

from __future__ import annotations

import argparse
from pathlib import Path

from streamsvc.bench.entry import Bench, measured
from streamsvc.flags import UsageError, count, size, tell, within


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
        chromium=arguments.chromium,
        processing_ms=arguments.processing,
        grain=arguments.grain,
        max_bitrate=None if arguments.mbps is None else round(arguments.mbps * 1e6),
    )
    measured(arguments, run_edge(options, tell))
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
    measured(arguments, run_network(options, tell))
    return 0


def _services(arguments: argparse.Namespace) -> int:
    """Measure our service beside public ones; exit status 1 when one of them could not be measured."""
    from streamsvc.bench.services import NAMES, STAGES_MS, ServicesBench, run_services

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
    figures = measured(arguments, run_services(options, tell))
    return 1 if figures["failures"] else 0


def _add_edge_flags(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--size", type=_video_size, action="append", help="of the video; repeatable (320x240, 640x480 and 1280x720)"
    )
    p.add_argument("--codec", choices=("VP8", "H264"), default="VP8", help="of both sides (%(default)s)")
    p.add_argument("--fps", type=within(15, 60), default=30.0, help="15 to 60 (%(default)g)")
    p.add_argument("--seconds", type=within(1, 120), default=20.0, metavar="S", help="of each run (%(default)g)")
    p.add_argument("--chromium", action="store_true", help="a page in headless Chromium receives, from both sides")
    p.add_argument(
        "--processing",
        type=within(0, 1000),
        default=0.0,
        metavar="MS",
        help="how long after its capture a picture is sent (%(default)g)",
    )
    p.add_argument(
        "--grain",
        type=within(0, 60),
        default=0.0,
        metavar="GREY",
        help="noise of the camera (%(default)g)",
    )
    p.add_argument("--mbps", type=within(0.1, 100), help="the most that ours may send, Mb/s (what the size needs)")
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


def _video_size(text: str) -> tuple[int, int]:
    width, height = size(text)
    if width < 160 or height < 120 or width % 2 or height % 2:
        raise argparse.ArgumentTypeError(f"even sides from 160x120 are accepted, got {text!r}")
    return width, height


BENCHES = {
    "edge": Bench("video over WebRTC: our edge's latency against stock aiortc's", _edge, _add_edge_flags),
    "network": Bench(
        "video over networks that lose and delay: our edge beside stock aiortc", _network, _add_network_flags
    ),
    "services": Bench("our service beside public ones, with a slow stage in each", _services, _add_services_flags),
}
