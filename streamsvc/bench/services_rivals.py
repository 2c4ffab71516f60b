"""The services that `bench services` puts ours beside: what they are made of, where they are installed, how they run.

Each has an environment of its own in the cache, made once by uv from the versions named here, and is a small server
(`bench/rivals`) in a process of its own. None of them is ever imported by, or installed beside, what is ours.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from streamsvc.cache import cache_dir
from streamsvc.errors import StreamsvcError

FOLDER = Path(__file__).parent / "rivals"
READY = "installed"
INSTALL_S = 1200.0
START_S = 120.0
LEAVE_S = 8.0
AT_HOME = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}
"""Their environment: nothing is told or fetched while they are measured."""


class RivalError(StreamsvcError):
    """A service that can't be installed or started; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Rival:
    """A service: its `module` in `FOLDER`, what it needs, whose versions are told, and how it does the stage."""

    name: str
    module: str
    requirements: tuple[str, ...]
    packages: tuple[str, ...]
    how: str


@dataclass(frozen=True, slots=True)
class Task:
    """What a service does: `stage_ms` of a device's time a picture of `size`, `fps` a second."""

    stage_ms: float
    size: tuple[int, int]
    fps: float


_STOCK = ("aiortc==1.16.0", "starlette==1.10.0", "uvicorn==0.54.0")

RIVALS = (
    Rival(
        "aiortc",
        "stock_server",
        _STOCK,
        ("aiortc", "av"),
        "aiortc's server example: a track whose recv() waits for a picture of a relay and then for the stage, in a "
        "thread; what comes meanwhile queues up",
    ),
    Rival(
        "aiortc newest",
        "stock_newest_server",
        _STOCK,
        ("aiortc", "av"),
        "the same with a relay that isn't buffered: what comes meanwhile is passed over",
    ),
    Rival(
        "fastrtc",
        "fastrtc_server",
        ("fastrtc==0.0.34", "aiortc==1.16.0", "uvicorn==0.54.0"),
        ("fastrtc", "aiortc", "av"),
        "VideoStreamHandler with skip_frames, as its guide has it for slow handlers; it calls them on the event loop",
    ),
    Rival(
        "pipecat",
        "pipecat_server",
        ("pipecat-ai[webrtc,runner]==1.14.0", "aiortc==1.16.0", "uvicorn==0.54.0"),
        ("pipecat-ai", "aiortc", "av"),
        "SmallWebRTCTransport, live video out, a processor that waits for the stage in a thread; the framerate of the "
        "camera is set to what the stage can take",
    ),
)


def prepare(rival: Rival, tell: Callable[[str], None]) -> Path:
    """Return the interpreter of a rival's environment, which is made if it isn't there; blocks. Raises RivalError."""
    digest = hashlib.sha256("\n".join((sys.version, *rival.requirements)).encode()).hexdigest()[:12]
    home = cache_dir() / "rivals" / f"{rival.packages[0]}-{digest}"
    python = home / "bin" / "python"
    if (home / READY).is_file():
        return python
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        raise RivalError(f"{rival.name} can't be installed: uv is missing (pip install uv)")
    tell(f"installing {rival.name} into {home}: {', '.join(rival.requirements)} ...")
    _install(rival, [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home)])
    _install(rival, [uv, "pip", "install", "--quiet", "--python", str(python), *rival.requirements])
    (home / READY).write_text("\n".join(rival.requirements) + "\n", "utf-8")
    return python


def _install(rival: Rival, command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_S)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise RivalError(f"{rival.name} can't be installed: {e}") from None
    if done.returncode:
        raise RivalError(f"{rival.name} can't be installed: {_end(done.stderr)}")


def _end(text: str) -> str:
    """Return the last lines of what a program said, as one."""
    return " | ".join(line.strip() for line in text.strip().splitlines()[-4:]) or "it said nothing"


def _silence(rival: Rival, log: Path) -> str:
    return f"{rival.name} did not come up: {_end(log.read_text('utf-8', 'replace'))}"


@asynccontextmanager
async def serving(rival: Rival, python: Path, task: Task, log: Path) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """Run a rival's server; yields the URL to post offers to and the versions of what it runs. Its log goes to `log`.

    Raises RivalError when it doesn't come up.
    """
    packages = [part for name in rival.packages for part in ("--package", name)]
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(str(python), str(FOLDER / "serve.py"), rival.module, "--stage-ms", f"{task.stage_ms:g}"),
            *("--size", f"{task.size[0]}x{task.size[1]}", "--fps", f"{task.fps:g}", *packages),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=out,
            env={**os.environ, **AT_HOME},
        )
    assert process.stdin is not None and process.stdout is not None
    try:
        try:
            async with asyncio.timeout(START_S):
                said = json.loads(await process.stdout.readline())
        except (TimeoutError, ValueError):
            raise RivalError(_silence(rival, log)) from None
        yield said["url"], said["versions"]
    finally:
        process.stdin.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), LEAVE_S)
        if process.returncode is None:
            process.kill()
            await process.wait()
