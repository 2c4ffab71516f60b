"""Everything at once, over real WebRTC, with no browser and no camera: the service in a process of its own, and a
headless peer in front of a mirror room whose cameras see a rendered person who speaks recorded Spanish or French.

Leaves in its folder: `view.mp4` (what the viewer saw while their eye moved), `captions.srt`, `transcript.srt` (the
same, corrected), `speech.wav` (what they heard), `ledger.jsonl`, `report.html`, and `still.png` (the two cameras beside
the view of an eye between them).
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from streamsvc.edge import colour
from streamsvc.errors import StreamsvcError
from streamsvc.ledger.report import write_report
from streamsvc.peer import HeadlessPeer, PeerFigures, PeerOptions
from streamsvc.scene import open_scene
from streamsvc.signalling.messages import SpeechSettings, ViewSettings

READY_S = 240.0
TAIL_S = 8.0
"""How long the call goes on after the last word, so that its translation is heard."""


class DemoError(StreamsvcError):
    """The service did not come up."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """`seconds` of speech; `size` (width, height) of the cameras and of the view."""

    out: Path
    seconds: float = 60.0
    language: str = "es"
    cameras: int = 2
    size: tuple[int, int] = (640, 480)
    port: int = 8080


def free_port(wanted: int) -> int:
    """Return `wanted` when nothing listens there, else 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return 0
    return wanted


@asynccontextmanager
async def running_service(
    folder: Path, *arguments: str, port: int = 0, view: tuple[int, int] = (640, 480)
) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Run `streamsvc serve` in a process of its own with its ledger in `folder`; yields its URL and the process.

    `view` is the size of the picture for viewers who ask for none.

    Its log goes to `folder/service.log`. Raises DemoError with the end of that log when it does not come up.
    """
    ready, ledger, log = folder / "service.json", folder / "ledger.jsonl", folder / "service.log"
    for old in (ready, ledger):
        old.unlink(missing_ok=True)
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "streamsvc.cli",
            "--until-eof",  # its input is ours: it ends with us, whatever becomes of us
            "serve",
            f"--port={port}",
            f"--json={ready}",
            f"--ledger={ledger}",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=out,
            stderr=out,
            env={
                # The settings of a service that somebody runs here are not those of this one.
                **{k: v for k, v in os.environ.items() if not k.startswith("STREAMSVC_") or k == "STREAMSVC_CACHE"},
                "OMP_NUM_THREADS": "1",
                "STREAMSVC_VIEW_WIDTH": str(view[0]),
                "STREAMSVC_VIEW_HEIGHT": str(view[1]),
            },
        )
    try:
        for _ in range(round(READY_S * 10)):
            if process.returncode is not None or ready.exists():
                break
            await asyncio.sleep(0.1)
        if process.returncode is not None or not ready.exists():
            tail = log.read_text("utf-8", "replace").strip().splitlines()[-5:]
            raise DemoError("the service did not come up: " + " | ".join(tail))
        yield json.loads(ready.read_text("utf-8"))["urls"][0], process
    finally:
        if process.returncode is None:
            process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 15.0)
        if process.returncode is None:
            process.kill()
            await process.wait()
        ready.unlink(missing_ok=True)


def rendered_cameras(count: int) -> dict[str, str]:
    """Return the sources of a rendered person seen by `count` cameras."""
    names = [c.name for c in open_scene("body").rig(count, 320, 240).cameras]
    return dict.fromkeys(names, "synthetic:body")


async def run_demo(options: DemoOptions, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the demo and return its figures; `tell` is called with lines of progress."""
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    tell("starting the service (the first start compiles kernels and joins the model: up to a minute) ...")
    async with running_service(out, port=free_port(options.port)) as (url, _):
        tell(f"the service is up; join with a browser while this runs: {url}/room/lounge")
        peer = HeadlessPeer(
            PeerOptions(
                url=url,
                room="demo",
                name="demo",
                mirror=True,
                cameras=rendered_cameras(options.cameras),
                mic=f"synthetic:{options.language}:{options.seconds:g}",
                size=options.size,
                eye="sway",
                speech=SpeechSettings(source=options.language),
                view=ViewSettings(width=options.size[0], height=options.size[1]),
                save=out,
            ),
            lambda caption: tell(f"  {caption.source_start_ms / 1000:6.1f} s  {caption.text}"),
        )
        assert peer.microphone is not None
        tell(f"one call, {peer.microphone.seconds:.0f} s of {options.language} speech; captions as they are committed:")
        figures = await peer.run(peer.microphone.seconds + TAIL_S)
        if peer.latest_frame is not None:
            still(out / "still.png", options, colour.to_rgb(peer.latest_frame))
    return finish(out, figures, tell)


def finish(out: Path, figures: PeerFigures, tell: Callable[[str], None]) -> dict[str, Any]:
    """Write the report and return the figures."""
    if not figures.viewed:
        raise DemoError(f"no view arrived; {out / 'service.log'} says why")
    summary = write_report(
        out / "ledger.jsonl",
        out / "report.html",
        title="streamsvc demo",
        video=out / "view.mp4",
        captions=out / "captions.srt",
    )
    tell(summary.in_one_line())
    tell(f"left in {out}: view.mp4, captions.srt, transcript.srt, speech.wav, ledger.jsonl, report.html, still.png")
    return {
        "captured": figures.captured,
        "views": figures.viewed,
        "captions": [c.text for c in figures.captions],
        "summary": summary.to_dict(),
    }


def still(path: Path, options: DemoOptions, view: np.ndarray[Any, Any]) -> None:
    """Write the first and last camera's pictures of the same person on either side of `view`."""
    scene = open_scene("body")
    rig = scene.rig(options.cameras, *options.size)
    first, last = (scene.render(rig.camera(c.name), 0.0).rgb for c in (rig.cameras[0], rig.cameras[-1]))
    tiles = []
    for pixels, label in ((first, "camera"), (view, "your eye, between them"), (last, "camera")):
        tile = cv2.copyMakeBorder(pixels, 36, 8, 8, 8, cv2.BORDER_CONSTANT, value=(24, 24, 28))
        cv2.putText(tile, label, (12, 25), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (235, 235, 235), 1, cv2.LINE_AA)
        tiles.append(tile)
    cv2.imwrite(str(path), cv2.cvtColor(np.hstack(tiles), cv2.COLOR_RGB2BGR))
