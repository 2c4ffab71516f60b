"""What `streamsvc bench` knows of one bench."""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from streamsvc.flags import Command, write_json


class Bench(NamedTuple):
    """What it measures, what runs it with its flags, and what adds them to a parser."""

    text: str
    run: Command
    add_flags: Callable[[argparse.ArgumentParser], None]


def measured(
    arguments: argparse.Namespace, work: Coroutine[Any, Any, dict[str, Any]], *, level: int = logging.ERROR
) -> dict[str, Any]:
    """Run a bench on a loop of its own, write its figures where `--json` says, and return them; what is less severe
    than `level` is not logged."""
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    figures = asyncio.run(work)
    write_json(arguments.json, figures)
    return figures
