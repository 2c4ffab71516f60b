"""`streamsvc demo`: everything at once."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path

from streamsvc.flags import check_files, port, size, tell, within, write_json


def run(arguments: argparse.Namespace) -> int:
    """Show everything at once."""
    from streamsvc.demo import DemoOptions, run_demo

    check_files(arguments, folders=("out",))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    options = DemoOptions(
        out=arguments.out,
        seconds=arguments.duration,
        language=arguments.language,
        cameras=arguments.cameras,
        size=arguments.size,
        port=arguments.port,
    )
    figures = asyncio.run(run_demo(options, tell))
    write_json(arguments.json, figures)
    return 0


def add_flags(p: argparse.ArgumentParser) -> None:
    """Add the command's flags."""
    p.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for what is left behind (%(default)s)")
    p.add_argument(
        "--duration", type=within(1, 86_400), default=60.0, metavar="S", help="seconds of call (%(default)g)"
    )
    p.add_argument("--language", choices=("es", "fr"), default="es", help="spoken (%(default)s)")
    p.add_argument("--cameras", type=int, default=2, choices=(2, 4), help="cameras (%(default)s)")
    p.add_argument("--size", type=size, default=(320, 240), help="of cameras and view (320x240)")
    p.add_argument("--port", type=port, default=8080, help="port of the service; any free one if taken (%(default)s)")
