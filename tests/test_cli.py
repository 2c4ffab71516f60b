"""The command line: every command explains itself, and bad input is one clear line and exit status 2."""

import json
import socket
from pathlib import Path

import pytest

from streamsvc.cli import commands, main
from streamsvc.config import Settings, load
from streamsvc.doctor import Check


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, out, err


@pytest.mark.parametrize("command", commands())
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    status, out, _ = run(capsys, command, "--help")
    assert status == 0 and "--json" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "--port", "99999"], "server.port must be a whole number from 0 to 65535"),
        (["serve", "--config", "absent.toml"], "absent.toml can't be read"),
        (["serve", "--tls-cert", "a.pem"], "HTTPS needs both"),
        (["peer", "http://127.0.0.1:9", "--room", "r"], "127.0.0.1:9"),
        (["peer", "http://127.0.0.1:9", "--room", "r", "--camera", "cam0"], "--camera must be NAME=VALUE"),
        (["peer", "http://127.0.0.1:9", "--room", "r", "--set", "n=many"], "--set n must be a number"),
        (["peer", "http://127.0.0.1:9", "--room", "r", "--rig", "absent.json"], "absent.json"),
        (["interpret", "absent.wav", "--events", "e.jsonl"], "absent.wav"),
        (["synthesize", "--rig", "r", "--images", "i", "--view", "v", "--out", "o.png"], "r"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_status_2(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *arguments)
    assert status == 2 and out == ""
    assert message in err and "Traceback" not in err
    assert len(err.strip().splitlines()) == 1 and err.startswith(f"streamsvc {arguments[0]}: ")


def test_a_port_in_use_is_named_before_a_worker_is_started(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def start(worker: object) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr("streamsvc.service.LocalWorker.start", start)
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for host in ("127.0.0.1", "0.0.0.0"):
            status, _, err = run(capsys, "serve", "--host", host, "--port", str(port))
            assert status == 2
            assert str(port) in err.strip().splitlines()[-1] and "Traceback" not in err
    told = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(told) == 2, "on loopback nobody else comes"
    assert "--token-file" in told[0] and "HTTPS" in told[1]


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("STREAMSVC_SPEECH_POLICY", "foo", "policy 'foo' isn't known; one of"),
        ("STREAMSVC_SERVR_PORT", "99", "did you mean STREAMSVC_SERVER_PORT"),
        ("STREAMSVC_SERVER_ICE_SERVERS", '[{"urls": ["garbage"]}]', "'garbage' is no STUN or TURN server"),
    ],
)
def test_settings_under_which_no_call_would_be_right_are_told_at_the_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    status, out, err = run(capsys, "serve", "--port", "0")
    assert status == 2 and out == "" and message in err.strip().splitlines()[-1]


def test_the_settings_can_be_printed_and_are_the_defaults(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, _ = run(capsys, "serve", "--example-config")
    assert status == 0
    (tmp_path / "service.toml").write_text(out)
    assert load(tmp_path / "service.toml", {}, {}) == Settings() and "[server]" in out and "# port = 8080" in out


@pytest.mark.parametrize("works", [True, False])
def test_the_doctors_status_is_what_works(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    checks = [Check("absent", None, "goes without"), Check("needed", works, "is there or not")]
    monkeypatch.setattr("streamsvc.doctor.diagnose", lambda: checks)
    assert run(capsys, "doctor")[0] == (0 if works else 1)


@pytest.mark.parametrize(
    ("command", "flags", "values"),
    [
        (["peer", "http://127.0.0.1:9", "--room", "r"], ["--fps", "--duration", "--budget"], ["0", "-3", "nan"]),
        (["peer", "http://127.0.0.1:9", "--room", "r"], ["--set"], ["n=nan", "n=inf"]),
        (["probe", "http://127.0.0.1:9"], ["--fps", "--duration", "--budget"], ["0", "-3", "nan"]),
        (["bench", "session"], ["--fps", "--duration", "--budget"], ["0", "-5", "nan"]),
        (["bench", "speech"], ["--minutes", "--speed", "--sessions"], ["0", "-5", "nan"]),
        (["demo"], ["--duration", "--port", "--language"], ["-5", "nan", "de"]),
        (["serve"], ["--extra-stage-ms"], ["-5", "nan"]),
        (["calibrate", "--board", "chessboard:8x6:0.03"], ["--fps", "--duration", "--views"], ["0", "-5", "nan"]),
    ],
)
def test_numbers_that_mean_nothing_are_refused_before_anything_starts(
    capsys: pytest.CaptureFixture[str], command: list[str], flags: list[str], values: list[str]
) -> None:
    for flag in flags:
        for value in values:
            status, out, err = run(capsys, *command, f"{flag}={value}")
            assert status == 2 and out == "" and flag in err and "Traceback" not in err


@pytest.mark.parametrize("room", ["a/b", "..", "", "x" * 500])
def test_a_room_that_no_page_could_open_is_refused(capsys: pytest.CaptureFixture[str], room: str) -> None:
    status, _, err = run(capsys, "peer", "http://127.0.0.1:9", "--room", room)
    assert status == 2 and "a room's name has 1 to 64 characters" in err


def test_doctor_says_what_works_and_writes_it_for_machines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, _ = run(capsys, "doctor", "--json", str(tmp_path / "d.json"))
    assert "Python" in out
    checks = json.loads((tmp_path / "d.json").read_text())
    assert {"name", "ok", "detail", "advice"} <= set(checks[0])
    assert status == any(c["ok"] is False for c in checks)
