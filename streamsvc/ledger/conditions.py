"""Under what conditions something was measured: host, load, versions, date. A figure without these is a rumour."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "streamsvc",
    "aiortc",
    "av",
    "numpy",
    "numba",
    "opencv-python-headless",
    "torch",
    "ctranslate2",
    "faster-whisper",
    "piper-tts",
)


def cpu_model() -> str:
    """Return the processor's name as the kernel tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory_bytes() -> tuple[int, int] | None:
    """Return (total, available) memory in bytes, None where the kernel doesn't tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    fields = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
    return fields["MemTotal"], fields["MemAvailable"]


def resident_bytes(pid: int | None = None) -> int:
    """Return the resident set of a process, this one when left out; raises OSError when it is gone."""
    statm = Path(f"/proc/{'self' if pid is None else pid}/statm").read_text(encoding="ascii")
    return int(statm.split()[1]) * resource.getpagesize()


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the installed versions of those packages that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def conditions() -> dict[str, str]:
    """Return the conditions of this host now, as label and plain text."""
    memory = memory_bytes()
    load = " / ".join(f"{x:.2f}" for x in os.getloadavg())
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "CPU": f"{cpu_model()}, {usable_cores()} cores",
        "memory": f"{memory[0] / 2**30:.1f} GiB, {memory[1] / 2**30:.1f} GiB free" if memory else "unknown",
        "load average": f"{load} (1, 5, 15 min, when this was written)",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "packages": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }
