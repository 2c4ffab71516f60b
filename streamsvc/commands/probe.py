"""`streamsvc probe`: a server measured from outside."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from streamsvc.errors import StreamsvcError
from streamsvc.flags import check_files, parameters, share, size, within, write_json

if TYPE_CHECKING:
    from streamsvc.probe.run import FirstWord


def run(arguments: argparse.Namespace) -> int:
    """Measure a server from outside: latency from a clock that the cameras themselves see, sound, speech, and where
    the time goes.

    Exit status: 0 measured, 1 below --require or refused, 2 for bad input.
    """

    from streamsvc.probe import ProbeOptions, run_probe
    from streamsvc.probe.report import compare_table, table, write
    from streamsvc.shaper import parse_network

    check_files(arguments, folders=("out",))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    options = ProbeOptions(
        url=arguments.url,
        out=arguments.out,
        room=arguments.room,
        token=arguments.token or os.environ.get("STREAMSVC_TOKEN"),
        seconds=arguments.duration,
        cameras=arguments.cameras,
        size=arguments.size,
        fps=arguments.fps,
        budget_ms=arguments.budget,
        speech=arguments.speech,
        policy=arguments.policy,
        parameters=parameters(arguments.set),
        role=arguments.role,
        eye=arguments.eye,
        insecure=arguments.insecure,
        browser=arguments.browser,
        network=None if arguments.network is None else parse_network(arguments.network),
        relay=arguments.relay,
    )

    def tell(line: str) -> None:
        print(line, flush=True)

    first_word = _first_word(tell) if arguments.speech is not None else None
    probes = []
    for url in (arguments.url, *(arguments.compare or ())):
        probed = asyncio.run(run_probe(replace(options, url=url), tell, first_word))
        if arguments.role == "send":
            error_ms = probed.figures["clock_error_ms"]
            off = "not known" if error_ms is None else f"{error_ms:.2f} ms"
            tell(f"{probed.figures['captured']} captures sent; clock error {off}")
            write_json(arguments.json, probed.figures)
            return 0
        for line in table(probed.figures):
            tell(line)
        probes.append(probed)
    if len(probes) > 1:
        for line in compare_table([p.figures for p in probes]):
            tell(line)
    tell(f"report: {write(arguments.out, probes)}")
    write_json(arguments.json, probes[0].figures if len(probes) == 1 else [p.figures for p in probes])
    goodput = probes[0].figures["view"]["goodput"]
    kept = probes[0].figures["verdict"] != "refused" and (arguments.require is None or goodput >= arguments.require)
    return 0 if kept else 1


def _first_word(tell: Callable[[str], None]) -> FirstWord | None:
    """Return who knows where first words end, None where there is no model for it here."""
    from streamsvc.speech.firstword import FirstWord as Listener

    try:
        listener = Listener()
    except StreamsvcError as e:
        tell(f"when first words end isn't known here ({e}); the voice is timed from the beginning of phrases alone")
        return None
    return listener.ends_s


def add_flags(p: argparse.ArgumentParser) -> None:
    """Add the command's flags."""
    p.add_argument("url", metavar="URL", help="a service of ours, or an address that takes an SDP offer by POST")
    p.add_argument("--room", default="probe", help="name of the room (%(default)s)")
    p.add_argument("--token", help="token, where the service asks for one (or STREAMSVC_TOKEN)")
    p.add_argument(
        "--budget", type=within(20, 5000), default=400.0, metavar="MS", help="capture to display (%(default)g)"
    )
    p.add_argument(
        "--duration", type=within(1, 86_400), default=30.0, metavar="S", help="seconds, 5 of warm-up (%(default)g)"
    )
    p.add_argument("--cameras", type=int, default=2, choices=(1, 2, 4), help="cameras (%(default)s)")
    p.add_argument("--size", type=size, default=(320, 240), help="of cameras and view (320x240)")
    p.add_argument("--fps", type=within(1, 120), default=15.0, help="of cameras (%(default)g)")
    p.add_argument("--eye", default="still", help="still, sway, or x,y,z in world metres (%(default)s)")
    p.add_argument(
        "--speech",
        choices=("es", "fr"),
        help="say something to translate (chirps, not translated; with --browser silence)",
    )
    p.add_argument("--policy", help="speak policy")
    p.add_argument("--set", action="append", metavar="K=V", help="parameter of the policy; repeatable")
    p.add_argument("--browser", action="store_true", help="take part with our page in headless Chromium")
    p.add_argument("--compare", action="append", metavar="URL", help="probe this server too; repeatable")
    p.add_argument(
        "--network",
        metavar="NAME|RULES",
        help="lead the call through a bad network: lossy, bursty, lost-twice, narrowing, mobile, or rules like "
        "delay=50,jitter=20,loss=5",
    )
    p.add_argument(
        "--relay", action="store_true", help="only through the TURN server that the service offers: does it work?"
    )
    p.add_argument(
        "--role",
        choices=("both", "send", "watch"),
        default="both",
        help="halves on two hosts; send for longer than you watch: what doesn't come while you watch is missed. Both "
        "clock errors, the sender's as the service passes it on, leave the verdict open where they decide it "
        "(%(default)s)",
    )
    p.add_argument("--require", type=share, metavar="SHARE", help="exit with 1 when less is seen in time")
    p.add_argument("--out", type=Path, default=Path("out/probe"), metavar="DIR", help="report and plots (%(default)s)")
    p.add_argument("--insecure", action="store_true", help="accept a self-signed certificate")
