"""Slice: the largest piece of compute that runs without a chance to yield.

A job is a generator: each `next()` runs one slice to its end and yields what it was called; the job's result is the
generator's return value. The dispatcher decides only between slices, and closing the generator abandons the job.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

R = TypeVar("R")

Slices = Generator[str, None, R]


def run_to_end(slices: Slices[R]) -> R:
    """Run every slice in turn and return the job's result; for callers without a dispatcher."""
    while True:
        try:
            next(slices)
        except StopIteration as stop:
            result: R = stop.value
            return result


def run_timed(slices: Slices[R], clock: Callable[[], int]) -> tuple[R, dict[str, int]]:
    """Run every slice in turn; return the job's result and what each stage took in all, in units of `clock`."""
    spent: dict[str, int] = {}
    while True:
        start = clock()
        try:
            stage = next(slices)
        except StopIteration as stop:
            result: R = stop.value
            return result, spent
        spent[stage] = spent.get(stage, 0) + clock() - start
