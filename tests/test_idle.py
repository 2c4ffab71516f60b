"""Idle cores: read from the kernel's counts, averaged, and unknown where a host doesn't tell."""

import math
from pathlib import Path

import pytest

from streamsvc.worker.idle import MEMORY, IdleCores


def write(path: Path, busy: int, idle: int, waiting: int = 0) -> None:
    path.write_text(f"cpu  {busy} 0 0 {idle} {waiting} 0 0 0 0 0\ncpu0 1 2 3 4\ncpu1 1 2 3 4\nintr 5\n")


def test_idle_cores_are_averaged(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    write(stat, 100, 100)
    idle = IdleCores(stat)
    assert math.isinf(idle.mean)
    write(stat, 130, 160, 10)  # 70 of 100 ticks of both cores
    idle.look()
    assert idle.mean == pytest.approx(1.4)
    write(stat, 230, 160, 10)
    idle.look()
    assert idle.mean == pytest.approx(1.4 * (1 - MEMORY))
    idle.look()
    assert idle.mean == pytest.approx(1.4 * (1 - MEMORY)), "no time has passed"


@pytest.mark.parametrize("text", [None, "", "cpu a b c"])
def test_a_host_that_does_not_tell_is_unknown(text: str | None, tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    if text is not None:
        stat.write_text(text)
    idle = IdleCores(stat)
    idle.look()
    assert math.isinf(idle.mean)
