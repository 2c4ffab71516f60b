"""models/assets.py: nothing to do is silent and quick, what can't be fetched is said in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(cache: Path, *arguments: str, path: str = "/nowhere") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "STREAMSVC_CACHE": str(cache), "PATH": path}
    command = [sys.executable, str(ROOT / "models" / "assets.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_what_is_there_already_is_left_alone_in_silence(tmp_path: Path) -> None:
    (tmp_path / "speech").mkdir()
    (tmp_path / "motorcycle").mkdir()
    for name in ("motorcycle_left.png", "motorcycle_right.png", "motorcycle_disparity.npz"):
        (tmp_path / "motorcycle" / name).touch()
    (tmp_path / "boards").mkdir()
    (tmp_path / "face_mesh").mkdir()
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "am_santa.bin").touch()
    (tmp_path / "axe").mkdir(exist_ok=True)
    done = run(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_machine_without_apt_is_told_what_is_needed(tmp_path: Path) -> None:
    done = run(tmp_path, "--only", "speech")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "apt-get isn't on this machine" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_npm_is_told_what_face_tracking_needs(tmp_path: Path) -> None:
    done = run(tmp_path, "--only", "face_mesh")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "npm isn't on this machine" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_package_of_other_content_is_refused(tmp_path: Path) -> None:
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text("#!/bin/sh\necho changed > face_mesh.tgz\n")
    npm.chmod(0o755)
    cache = tmp_path / "cache"
    done = run(cache, "--only", "face_mesh", path=f"{npm.parent}:/bin")
    assert done.returncode == 1
    assert "SHA-256" in done.stderr
    assert list(cache.iterdir()) == []
