"""The command line: every command explains itself, and bad input is one clear line and exit status 2."""

import json
import socket
from pathlib import Path

import pytest

from streamsvc.cli import COMMANDS, main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, out, err


@pytest.mark.parametrize("command", COMMANDS)
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


def test_a_port_in_use_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, _, err = run(capsys, "serve", "--no-speech", "--port", str(port))
    assert status == 2
    assert str(port) in err.strip().splitlines()[-1] and "Traceback" not in err


def test_doctor_says_what_works_and_writes_it_for_machines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, _ = run(capsys, "doctor", "--json", str(tmp_path / "d.json"))
    assert status == 0 and "Python" in out
    checks = json.loads((tmp_path / "d.json").read_text())
    assert {"name", "ok", "detail", "advice"} <= set(checks[0])
