"""Mutilated offers against a whole connection: a typed error or an answer, and nothing left behind either way."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsvc.edge import AudioOut, ChannelSpec, Connection, EdgeError, VideoOut, live_connections

# What to do to a line: which, how, and with what.
CHARACTERS = st.sampled_from([*"\0\t -:0", "\xff", "\u20ac", "\ud800"])
NUMBERS = st.sampled_from(["-1", "0", "", "1e9", "70000", "99999999999999"])
EDITS = st.one_of(
    st.tuples(st.just("cut"), st.integers(0, 10**6), st.integers(0, 80)),
    st.tuples(st.just("put"), st.integers(0, 10**6), st.tuples(st.integers(0, 80), CHARACTERS)),
    st.tuples(st.just("copy"), st.integers(0, 10**6), st.integers(0, 10**6)),
    st.tuples(st.just("drop"), st.integers(0, 10**6), st.none()),
    st.tuples(st.just("number"), st.integers(0, 10**6), st.tuples(st.integers(0, 9), NUMBERS)),
)


def edited(text: str, edits: list[tuple[str, int, Any]]) -> str:
    lines = text.split("\r\n")
    for how, where, what in edits:
        at = where % len(lines)
        line = lines[at]
        if how == "cut":
            lines[at] = line[:what]
        elif how == "put":
            lines[at] = line[: what[0]] + what[1] + line[what[0] + 1 :]
        elif how == "copy":
            lines.insert(at, lines[what % len(lines)])
        elif how == "drop" and len(lines) > 1:
            del lines[at]
        elif how == "number":
            lines[at] = line.replace(str(what[0]), what[1])
    return "\r\n".join(lines)


def silence(count: int) -> np.ndarray:
    return np.zeros(count, np.float32)


async def good_offer() -> str:
    connection = Connection()
    sdp = await connection.offer([VideoOut(), VideoOut()], AudioOut(silence), channels=[ChannelSpec("ledger")])
    await connection.close()
    return sdp


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


GOOD = asyncio.run(good_offer())


@given(st.lists(EDITS, min_size=1, max_size=4))
@settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "60")), database=None)
def test_a_mutilated_offer_is_answered_or_refused_and_leaves_nothing_behind(edits: list[tuple[str, int, Any]]) -> None:
    unhandled: list[dict[str, Any]] = []

    async def take() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        connection = Connection()
        try:
            await connection.answer(edited(GOOD, edits), video=VideoOut(), audio=AudioOut(silence))
        except EdgeError as error:
            assert error.code in ("bad-sdp", "too-large") and 10 < len(str(error)) < 400
        finally:
            await connection.close()

    files, connections = open_files(), live_connections()
    asyncio.run(take())
    assert not unhandled
    # Fewer when what an earlier test dropped was collected meanwhile.
    assert live_connections() <= connections and open_files() <= files
