"""One thread per process in every test: spinning pools on two busy cores are many times slower. No test is timed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# Machines are shared, and the first draw of a fresh checkout builds tables of characters.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """A folder with a page, what belongs to it, and what nobody may see."""
    folder = tmp_path / "web"
    (folder / "lib").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>page</title>")
    (folder / "lib" / "call.js").write_text("export const a = 1;")
    (folder / "lib" / "m.mjs").write_text("export const a = 1;")
    (folder / "lib" / "w.wasm").write_bytes(b"\0asm")
    (folder / ".secret").write_text("hidden")
    (tmp_path / "outside.txt").write_text("outside")
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    return folder
