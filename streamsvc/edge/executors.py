"""The threads that codecs run on: bounded, named, and never asyncio's default pool.

Encoding, decoding and sound have pools of their own, so that a burst of keyframes can't hold up decoding, neither can
hold up an Opus packet of 0.1 ms, and blocking calls elsewhere in the service (files, DNS) can't hold up any of them.
The pools are shared by all connections of the process and made on first use.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def encoding() -> ThreadPoolExecutor:
    """The pool for RGB to YUV conversion and video encoding: one thread per core, 2 to 8."""
    return ThreadPoolExecutor(min(max(cores(), 2), 8), thread_name_prefix="edge-encode")


@cache
def decoding() -> ThreadPoolExecutor:
    """The pool for video decoding and YUV to RGB conversion: one thread per core, 2 to 8."""
    return ThreadPoolExecutor(min(max(cores(), 2), 8), thread_name_prefix="edge-decode")


@cache
def sound() -> ThreadPoolExecutor:
    """The pool for everything about audio: one thread, which is 200 streams' worth."""
    return ThreadPoolExecutor(1, thread_name_prefix="edge-sound")


async def run(pool: ThreadPoolExecutor, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run `call` in `pool` and return what it returns."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(pool, lambda: call(*args, **kwargs))
