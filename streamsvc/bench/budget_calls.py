"""`bench budget --real --what admission`: people who call a service one after another, each in a room of their own.

The service runs in a process of its own, first with admission and then without. Everybody has a pair of cameras and
speaks. What each got is read from the service's ledger: the share of views that were due and were displayed in time,
over the whole stay and in each `WINDOW_S` of it, and of words that left within five seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from streamsvc.bench.budget import save, unit
from streamsvc.bench.view_report import Column, table
from streamsvc.demo import running_service
from streamsvc.frames import Rig
from streamsvc.ledger.figures import goodput
from streamsvc.ledger.reader import read_ledger
from streamsvc.ledger.records import Record
from streamsvc.peer import HeadlessPeer, PeerOptions
from streamsvc.scene import open_scene
from streamsvc.signalling.messages import SignallingError, ViewSettings

SCENE, SIZE, FPS = "body:1", (320, 240), 15.0
FILM_S = 4.0
EVERY_S = 8.0
"""Between two arrivals."""

WINDOW_S = 5.0
SETTLED_S = 3.0
"""After somebody's media begin, or others come, before what they get is counted."""

VOICE = "synthetic:es"


@dataclass(slots=True)
class Caller:
    """Somebody who came: how long a refusal took (ms), and what they were told."""

    room: str
    refused_ms: float | None = None
    refused: str = ""
    notices: list[str] = field(default_factory=list)


def run_calls(out: Path, seconds: float, callers: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run both cases and return the figures. Raises DemoError when the service doesn't come up."""
    for case in ("on", "off"):
        (out / case).mkdir(parents=True, exist_ok=True)
    tell("making films")
    rig = films(out, seconds)
    rows, told = [], {}
    for admission in ("on", "off"):
        arguments = () if admission == "on" else ("--no-admission",)
        came, ledger = asyncio.run(_case(out / admission, out, rig, seconds, callers, arguments))
        rows.append({"admission": admission, **row(came, ledger)})
        told[admission] = [c.refused or "; ".join(c.notices) or "taken" for c in came]
    tell(
        f"one more every {EVERY_S:g} s, {callers} in all, two cameras {SIZE[0]}x{SIZE[1]} at {FPS:g} a second and a "
        f"voice each; {seconds:g} s"
    )
    for line in table(rows, COLUMNS, ("admission",)):
        tell(line)
    for number, text in enumerate(told["on"], 1):
        tell(f"  {number}: {text}")
    return save(out, "budget-calls", {"seconds": seconds, "callers": callers, "rows": rows, "told": told}, {})


def films(out: Path, seconds: float) -> Rig:
    """Write what each camera of the rig sees, and return the rig; rendering live would take the cores of the worker."""
    scene = open_scene(SCENE)
    rig = scene.rig(2, *SIZE)
    for camera in rig.cameras:
        pictures = [scene.render(camera, k / FPS).rgb for k in range(round(FILM_S * FPS))]
        forth_and_back = [*pictures, *pictures[-2:0:-1]]
        with av.open(str(out / f"{camera.name}.mkv"), "w") as container:
            stream: Any = container.add_stream("mjpeg", rate=Fraction(FPS).limit_denominator(1000))
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuvj420p"
            for k in range(round((seconds + EVERY_S) * FPS)):
                frame = av.VideoFrame.from_ndarray(forth_and_back[k % len(forth_and_back)], format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return rig


async def _case(
    folder: Path, films_in: Path, rig: Rig, seconds: float, callers: int, arguments: Sequence[str]
) -> tuple[list[Caller], list[Record]]:
    came = [Caller(f"caller-{n + 1}") for n in range(callers)]
    async with running_service(folder, *arguments, view=SIZE) as (url, _):
        begun = time.monotonic()
        calls = []
        for number, caller in enumerate(came):
            await asyncio.sleep(max(0.0, begun + EVERY_S * number - time.monotonic()))
            stay = begun + seconds - time.monotonic()
            calls.append(asyncio.create_task(_call(url, caller, films_in, rig, stay)))
        await asyncio.gather(*calls)
    return came, [r for r in read_ledger(folder / "ledger.jsonl") if isinstance(r, Record)]


async def _call(url: str, caller: Caller, films_in: Path, rig: Rig, stay: float) -> None:
    peer = HeadlessPeer(
        PeerOptions(
            url=url,
            room=caller.room,
            mirror=True,
            rig=rig,
            cameras={c.name: str(films_in / f"{c.name}.mkv") for c in rig.cameras},
            mic=VOICE,
            size=SIZE,
            fps=FPS,
            view=ViewSettings(width=SIZE[0], height=SIZE[1]),
        )
    )
    asked = time.monotonic()
    with suppress(asyncio.CancelledError):
        try:
            caller.notices = (await peer.run(stay)).notices
        except SignallingError as e:
            if e.code != "no-room":
                raise
            caller.refused_ms, caller.refused = 1000 * (time.monotonic() - asked), f"refused: {e}"


def row(came: Sequence[Caller], ledger: Sequence[Record]) -> dict[str, Any]:
    """Return how those who came were answered, and what those who were taken got."""
    by_session: dict[str, list[Record]] = {}
    for record in ledger:
        by_session.setdefault(record.session, []).append(record)
    views = [settled([r for r in s if r.kind == "view"]) for s in by_session.values()]
    words = [[r for r in s if r.kind == "speech" and r.text] for s in by_session.values()]
    video = [g for s in views if (g := goodput(s)) is not None]
    speech = [g for s in words if (g := goodput(s)) is not None]
    windows = [g for s in views for part in parts(s) if (g := goodput(part)) is not None]
    waits = [c.refused_ms for c in came if c.refused_ms is not None]
    less = sum(any("until there is room" in n for n in c.notices) for c in came)
    return {
        "whole": len(came) - less - len(waits),
        "less": less,
        "refused": len(waits),
        "slowest_refusal_ms": max(waits, default=None),
        "video": sum(video) / len(video) if video else None,
        "least_video": min(video, default=None),
        "least_window": min(windows, default=None),
        "speech": sum(speech) / len(speech) if speech else None,
        "least_speech": min(speech, default=None),
    }


def settled(records: Sequence[Record]) -> list[Record]:
    """Return what was captured `SETTLED_S` or more after the first, in order."""
    ordered = sorted(records, key=lambda r: r.capture_ns)
    return [r for r in ordered if r.capture_ns >= ordered[0].capture_ns + SETTLED_S * 1e9]


def parts(records: Sequence[Record]) -> list[list[Record]]:
    """Return the whole stretches of `WINDOW_S`."""
    if not records:
        return []
    start, length = records[0].capture_ns, WINDOW_S * 1e9
    count = int((records[-1].capture_ns - start) / length)
    found: list[list[Record]] = [[] for _ in range(count)]
    for record in records:
        at = int((record.capture_ns - start) / length)
        if at < count:
            found[at].append(record)
    return found


def _count(value: float) -> str:
    return f"{value:.0f}"


COLUMNS: tuple[Column, ...] = (
    ("whole", "whole", _count),
    ("with less", "less", _count),
    ("refused", "refused", _count),
    ("slowest refusal ms", "slowest_refusal_ms", _count),
    ("video", "video", unit),
    ("least of a call", "least_video", unit),
    (f"of {WINDOW_S:g} s of one", "least_window", unit),
    ("speech", "speech", unit),
    ("least of a call", "least_speech", unit),
)
