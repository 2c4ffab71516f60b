"""The arrows of the design: held by the linter, which finds what breaks them, and by what is loaded at run time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
NETS = ("torch", "faster_whisper", "ctranslate2", "piper", "onnxruntime", "tokenizers", "rapidfuzz")
ROOMS_OF_THE_WORKER = ("streamsvc.view", "streamsvc.speech", "streamsvc.worker")


def python(code: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources that a test may break."""
    folder = tmp_path_factory.mktemp("tree")
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copytree(ROOT / "streamsvc", folder / "streamsvc", ignore=shutil.ignore_patterns("__pycache__", "data"))
    return folder


def test_every_arrow_points_as_the_design_says(tree: Path) -> None:
    done = python(LINT, tree)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("edge/wrong.py", "import torch", "torch only in view"),
        ("session/wrong.py", "from ctranslate2 import models", "Whisper and voices only in speech"),
        ("view/wrong.py", "import aioice", "WebRTC only in edge"),
        ("budget/wrong.py", "from streamsvc import frames", "Arrows point one way"),
        ("ledger/wrong.py", "from streamsvc.budget import clock", "Arrows point one way"),
        ("speech/wrong.py", "from streamsvc import edge", "Arrows point one way"),
        ("session/wrong.py", "def late():\n    from streamsvc import view", "The edge process knows no net"),
        ("session/wrong.py", "from streamsvc import scene", "Pictures are rendered for peers and measurements"),
        ("attic.py", "", "Arrows point one way"),
    ],
)
def test_the_linter_finds_what_breaks_a_rule(tree: Path, module: str, line: str, contract: str) -> None:
    wrong = tree / "streamsvc" / module
    wrong.write_text(line + "\n")
    try:
        done = python(LINT, tree)
    finally:
        wrong.unlink()
    assert done.returncode == 1
    broken = [said for said in done.stdout.splitlines() if said.endswith("BROKEN") or " BROKEN " in said]
    assert any(said.startswith(contract) for said in broken), done.stdout


@pytest.mark.parametrize(
    "module",
    ["streamsvc.service", "streamsvc.session", "streamsvc.edge", "streamsvc.signalling.server", "streamsvc.cli"],
)
def test_the_edge_process_loads_no_net_and_no_room_of_the_worker(module: str) -> None:
    unwanted = (*NETS, *ROOMS_OF_THE_WORKER, "streamsvc.scene")
    done = python(f"import sys, {module}; print(*sorted(set({unwanted!r}) & set(sys.modules)))")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize("module", ["streamsvc.peer", "streamsvc.service", "streamsvc.cli"])
def test_an_installation_without_extras_is_enough(module: str) -> None:
    done = python(f"import sys; sys.modules.update(dict.fromkeys({NETS!r})); import {module}")
    assert done.returncode == 0, done.stderr


def test_the_classical_view_needs_no_torch() -> None:
    done = python(
        "import sys; sys.modules['torch'] = None\n"
        "from streamsvc.frames.link import WorkerSettings\n"
        "from streamsvc.worker.warm import warm_views\n"
        "warm = warm_views(WorkerSettings(speech=False))\n"
        "assert 'torch' in warm.notes[0], warm.notes\n"
        "print(len(warm.rungs))"
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 3


def test_the_voice_activity_leaves_no_name_of_this_machine_for_others(tmp_path: Path) -> None:
    code = "import sys; from streamsvc.speech.vad import VoiceActivity as V; V(); assert 'onnxruntime' in sys.modules"
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    others = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=others | home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob(".onnxruntime*"))
