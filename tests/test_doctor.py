"""doctor: finds what is broken, says what to do, and never breaks itself."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from streamsvc import doctor
from streamsvc.doctor import Check, diagnose, examine, render
from streamsvc.errors import StreamsvcError


def test_nothing_that_a_call_needs_is_broken_here() -> None:
    checks = diagnose()
    assert [c.name for c in checks if c.ok is False] == []
    assert len({c.name for c in checks}) == len(doctor.CHECKS)


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (StreamsvcError("the model is damaged"), "the model is damaged"),
        (ImportError("no", name="ctranslate2"), "ctranslate2 can't be imported"),
        (OSError("odd"), "OSError: odd"),
        (RuntimeError("unforeseen"), "RuntimeError: unforeseen"),
    ],
)
def test_a_check_that_fails_is_a_result(error: Exception, detail: str) -> None:
    def sick() -> Check:
        raise error

    found = examine(sick)
    assert (found.name, found.ok, found.detail) == ("sick", False, detail)


def test_a_port_in_use_is_told_with_a_way_out() -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        found = doctor.port(s.getsockname()[1])
    assert found.ok is None
    assert "in use" in found.detail
    assert "--port" in found.advice


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "BASE", ("numpy", "no-such-package-of-ours"))
    found = doctor.packages()
    assert found.ok is False
    assert found.detail == "missing: no-such-package-of-ours"


@pytest.mark.parametrize(
    ("check", "packages"), [(doctor.torch, ["torch"]), (doctor.whisper, ["faster-whisper"])], ids=["torch", "whisper"]
)
def test_extras_that_are_not_installed_are_no_fault(
    monkeypatch: pytest.MonkeyPatch, check: Callable[[], Check], packages: list[str]
) -> None:
    monkeypatch.setattr(doctor, "versions", lambda names: {})
    found = check()
    assert found.ok is None
    assert "streamsvc[" in found.advice


def test_a_driver_that_fails_is_told_in_its_own_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho 'driver/library version mismatch'\nexit 18\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = doctor.gpu()
    assert found.ok is False
    assert found.detail == "driver/library version mismatch"


def test_missing_assets_are_told_with_the_command_that_fetches_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STREAMSVC_CACHE", str(tmp_path))
    found = doctor.assets()
    assert found.ok is None
    assert "speech" in found.detail
    assert "make assets" in found.advice
    assert doctor.eyes().ok is None
    assert "make assets" in doctor.eyes().advice


def test_the_text_names_what_does_not_work() -> None:
    text = render([Check("a", True, "fine"), Check("bb", False, "broken", "mend it"), Check("c", None, "absent")])
    assert text.splitlines() == [
        "ok    a   fine",
        "FAIL  bb  broken",
        "          -> mend it",
        "-     c   absent",
        "",
        "doesn't work: bb",
    ]
    assert render([Check("a", True, "fine")]).endswith("everything that a call needs works")
