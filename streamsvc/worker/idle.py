"""How much of this host nobody uses, whoever uses the rest: the edge, voices, other programs."""

from __future__ import annotations

import math
from pathlib import Path

STAT = Path("/proc/stat")
MEMORY = 0.25
"""Of each reading in the mean; with four readings a second what was two seconds ago hardly counts."""


class IdleCores:
    """A running mean of idle cores; `look` regularly, from one thread."""

    def __init__(self, stat: Path = STAT) -> None:
        self._stat = stat
        self._before = self._read()
        self.mean = math.inf
        """Infinite until it is known, and where a host doesn't tell."""

    def look(self) -> None:
        """Take note of what was idle since the last look."""
        before, self._before = self._before, self._read()
        if before is None or self._before is None:
            return
        cores, idle, whole = self._before
        if whole <= before[2]:
            return
        now = cores * (idle - before[1]) / (whole - before[2])
        self.mean = now if math.isinf(self.mean) else self.mean + MEMORY * (now - self.mean)

    def _read(self) -> tuple[int, int, int] | None:
        """Return cores, and ticks of all of them together: idle (waiting for disks, too), and in all."""
        try:
            lines = self._stat.read_text("ascii").splitlines()
            ticks = [int(x) for x in lines[0].split()[1:9]]
        except (OSError, ValueError, IndexError):
            return None
        cores = sum(line.startswith("cpu") for line in lines) - 1
        return max(cores, 1), ticks[3] + ticks[4], sum(ticks)
