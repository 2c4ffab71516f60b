"""What `streamsvc bench` knows of one bench."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

from streamsvc.flags import Command


class Bench(NamedTuple):
    """What it measures, what runs it with its flags, and what adds them to a parser."""

    text: str
    run: Command
    add_flags: Callable[[argparse.ArgumentParser], None]
