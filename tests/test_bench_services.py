"""`bench services`: figures from what a probe found, what is installed and what isn't, and one short run of ours beside
stock aiortc in our own environment."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streamsvc.bench import services, services_rivals
from streamsvc.bench.services import OURS, ServicesBench, run_services
from streamsvc.bench.services_figures import ServiceRow, service_row, services_table
from streamsvc.bench.services_plot import services_plot
from streamsvc.bench.services_rivals import FOLDER, RIVALS, RivalError, Task, prepare, serving
from streamsvc.cli import main
from streamsvc.ledger import Record
from streamsvc.probe import Probed

MS = 1_000_000
STOCK = next(r for r in RIVALS if r.name == "aiortc")


def made_up(
    latencies_ms: Sequence[float], lost: int = 0, doubts: Sequence[str] = (), reasons: Sequence[str] = ()
) -> Probed:
    """What a probe found that saw some pictures so late and others never; 100 ms are in time."""
    shown: list[float | None] = [*latencies_ms, *[None] * lost]
    records = tuple(
        Record(
            session="probe",
            stream="view",
            id=i,
            capture_ns=i * 33 * MS,
            deadline_ns=(i * 33 + 100) * MS,
            clock_error_ns=0,
            rung=None,
            stages=(),
            outcome="dropped" if ms is None else "shown" if ms <= 100 else "late",
            reason=None,
            displayed_ns=None if ms is None else round((i * 33 + ms) * MS),
            cameras=1,
        )
        for i, ms in enumerate(shown)
    )
    came = sorted(latencies_ms)
    view = {
        "due": len(shown),
        "goodput": sum(ms <= 100 for ms in came) / len(shown),
        **{f"latency_{q}_ms": came[len(came) // 2] if came else None for q in ("p50", "p95", "p99")},
        "fps": 30.0,
        "dropped": lost,
        "late": sum(ms > 100 for ms in came),
        "unreadable": 3,
        "misses": dict.fromkeys(reasons, 1),
        "longest_gap_ms": 70.0 if came else None,
        "mbit_per_s": 1.25 if came else None,
        "psnr_db": 38.5 if came else None,
    }
    verdict = "refused" if doubts else "good"
    return Probed({"view": view, "verdict": verdict, "doubts": [{"finding": d} for d in doubts]}, records)


def test_a_row_has_what_the_probe_found_and_every_latency_in_order() -> None:
    row = service_row("x", 20.0, made_up([40, 30, 120], lost=1))
    assert row.latencies_ms == (30, 40, 120) and row.p50_ms == 40
    assert (row.captured, row.goodput, row.missed, row.late, row.unreadable) == (4, 0.5, 1, 1, 3)


def test_table_and_plot_show_every_service_also_one_of_which_nothing_came() -> None:
    rows = [
        service_row(OURS, 0, made_up([20, 21, 22])),
        service_row("rival & co", 0, made_up([], lost=3, doubts=["no picture came back"], reasons=["never seen"])),
        service_row(OURS, 60, made_up([80, 90], reasons=["late", "thinned"])),
    ]
    lines = services_table(rows)
    assert lines[1].split() == [
        *("0", "ms", "ours", "100.0", "21", "21", "21", "30.0", "0", "0", "3", "3", "70", "1.25", "38.5")
    ]
    assert "rival & co" in lines[2] and lines[2].split()[-3:] == ["-", "-", "-"]
    assert lines[4:] == ["rival & co, 0 ms: doubted, no picture came back", "ours, 60 ms: late 1, thinned 1"]
    for shown in (rows, rows[:1], rows[1:2]):
        text = " ".join(ET.fromstring(services_plot("there & back", shown, 100)).itertext())
        assert "there & back" in text and "no stage" in text
        assert ("rival & co: nothing came" in text) == (rows[1] in shown)
        assert ("ours: 85 ms" in text or "ours: 90 ms, 100 %" in text) == (rows[2] in shown)


# What is installed.


class Uv:
    """Takes down what is asked of uv, and makes the interpreter of an environment."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.fails_at = ""

    def __call__(self, command: Sequence[str], **_: Any) -> SimpleNamespace:
        self.asked.append(list(command))
        if self.fails_at in command[1:]:
            return SimpleNamespace(returncode=2, stderr="  resolving\n  x no network: can't be reached\n")
        if command[1] == "venv":
            (Path(command[-1]) / "bin").mkdir(parents=True, exist_ok=True)
            (Path(command[-1]) / "bin" / "python").touch()
        return SimpleNamespace(returncode=0, stderr="")


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Uv:
    monkeypatch.setenv("STREAMSVC_CACHE", str(tmp_path / "cache"))
    stand_in = Uv()
    monkeypatch.setattr(services_rivals.subprocess, "run", stand_in)
    return stand_in


def test_an_environment_is_made_once_from_pinned_versions_and_shared(tmp_path: Path, uv: Uv) -> None:
    told: list[str] = []
    python = prepare(STOCK, told.append)
    assert python.is_file() and tmp_path / "cache" in python.parents
    made, installed = uv.asked
    assert made[1] == "venv" and installed[1:3] == ["pip", "install"]
    assert set(STOCK.requirements) <= set(installed) and str(python) in installed
    newest = next(r for r in RIVALS if r.name == "aiortc newest")
    assert prepare(STOCK, told.append) == prepare(newest, told.append) == python
    assert len(uv.asked) == 2 and len(told) == 1
    assert prepare(replace(STOCK, requirements=("aiortc==1.17.0",)), told.append) != python


def test_every_version_is_pinned() -> None:
    assert all("==" in requirement for rival in RIVALS for requirement in rival.requirements)
    assert all((FOLDER / f"{rival.module}.py").is_file() for rival in RIVALS)


@pytest.mark.parametrize("step", ["venv", "pip"])
def test_an_installation_that_fails_says_why_and_is_tried_again(uv: Uv, step: str) -> None:
    uv.fails_at = step
    for _ in range(2):
        with pytest.raises(RivalError, match=r"^aiortc can't be installed: resolving \| x no network") as raised:
            prepare(STOCK, lambda _: None)
        assert "\n" not in str(raised.value)
    uv.fails_at = ""
    assert prepare(STOCK, lambda _: None).is_file()


def test_without_uv_nothing_is_installed(uv: Uv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services_rivals.shutil, "which", lambda *_, **__: None)
    with pytest.raises(RivalError, match="uv is missing"):
        prepare(STOCK, lambda _: None)
    assert uv.asked == []


# What runs.


async def test_a_server_that_does_not_come_up_is_one_error_that_says_why(tmp_path: Path) -> None:
    broken = replace(STOCK, module="no_such_server")
    with pytest.raises(RivalError, match=r"^aiortc did not come up: .*no_such_server") as raised:
        async with serving(broken, Path(sys.executable), Task(0, (320, 240), 15), tmp_path / "log"):
            pass
    assert "\n" not in str(raised.value)


def test_a_server_ends_when_its_parent_is_gone() -> None:
    job = ["--stage-ms", "20", "--size", "320x240", "--fps", "15", "--package", "aiortc"]
    command = [sys.executable, str(FOLDER / "serve.py"), STOCK.module, *job]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["url"].startswith("http://127.0.0.1:") and said["versions"].keys() == {"aiortc"}


@pytest.mark.parametrize(("stage_ms", "fps", "rate"), [(0, 30, 30), (20, 30, 30), (60, 30, 1 / 0.06), (60, 10, 10)])
def test_a_device_takes_as_many_pictures_as_it_has_time_for(stage_ms: float, fps: float, rate: float) -> None:
    serve = runpy.run_path(str(FOLDER / "serve.py"))
    assert serve["Job"](stage_ms / 1000, 640, 480, fps).rate == pytest.approx(rate)


async def test_what_can_not_be_installed_or_measured_is_told_and_the_rest_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepared(rival: Any, tell: Any) -> Path:
        if rival.name == "fastrtc":
            raise RivalError("fastrtc can't be installed: no network")
        return Path(rival.module)

    @asynccontextmanager
    async def served(rival: Any, python: Path, task: Task, log: Path) -> AsyncIterator[tuple[str, dict[str, str]]]:
        if rival.name == "pipecat" and task.stage_ms == 0:
            raise RivalError("pipecat did not come up: <reason>")
        yield f"http://{rival.name}/{task.stage_ms:g}", {"aiortc": "1"}

    async def found(options: Any, tell: Any) -> Probed:
        return made_up([30.0] if options.url.endswith("/0") else [50.0])

    monkeypatch.setattr(services, "prepare", prepared)
    monkeypatch.setattr(services, "serving", served)
    monkeypatch.setattr(services, "run_probe", found)
    told: list[str] = []
    options = ServicesBench(tmp_path, ("aiortc", "fastrtc", "pipecat"), (0.0, 20.0), seconds=2)
    figures = await run_services(options, told.append)

    measured = [(r["service"], r["stage_ms"], r["p50_ms"]) for r in figures["rows"]]
    assert measured == [("aiortc", 0, 30), ("aiortc", 20, 50), ("pipecat", 20, 50)]
    assert figures["failures"] == {
        "fastrtc": "fastrtc can't be installed: no network",
        "pipecat, 0 ms": "pipecat did not come up: <reason>",
    }
    assert "not measured: fastrtc: fastrtc can't be installed: no network" in told
    assert figures["services"].keys() == {"aiortc", "pipecat"}


async def test_a_short_run_measures_ours_beside_stock_aiortc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "WARM_UP_S", 0.5)
    # Ours has aiortc, too; who installs nothing measures what is here.
    monkeypatch.setattr(services, "prepare", lambda rival, tell: Path(sys.executable))
    told: list[str] = []
    options = ServicesBench(tmp_path, (OURS, "aiortc"), (20.0,), size=(320, 240), fps=10, seconds=2)
    figures = await run_services(options, told.append)

    assert figures["failures"] == {}
    assert [r["service"] for r in figures["rows"]] == [OURS, "aiortc"]
    for found in (ServiceRow(**r) for r in figures["rows"]):
        assert found.captured >= 10 and found.latencies_ms
        assert min(found.latencies_ms) >= 20
        assert found.psnr_db is not None and found.psnr_db > 25
        assert found.mbit_per_s is not None and found.mbit_per_s > 0
    assert figures["services"]["aiortc"]["versions"].keys() == {"aiortc", "av"}
    assert figures["services"][OURS]["versions"].keys() == {"streamsvc", "aiortc", "av"}
    assert json.loads((tmp_path / "services.json").read_text("utf-8")) == json.loads(json.dumps(figures))
    ET.fromstring((tmp_path / "services.svg").read_text("utf-8"))
    assert any(line.lstrip().startswith("20 ms  aiortc") for line in told)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "zoom"], "--only zoom: there are ours, aiortc, aiortc newest, fastrtc, pipecat"),
        (["--stage", "-1"], "a number from 0 to 1000 is accepted, got '-1'"),
        (["--size", "321x240"], "even sides from 160x120 are accepted, got '321x240'"),
        (["--fps", "nan"], "a number from 5 to 60 is accepted, got 'nan'"),
        (["--seconds", "1"], "a number from 2 to 600 is accepted, got '1'"),
        (["--budget", "0"], "a number from 20 to 5000 is accepted, got '0'"),
    ],
)
def test_bad_flags_are_one_clear_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "services", *arguments])
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert message in err.splitlines()[-1] and "Traceback" not in err
