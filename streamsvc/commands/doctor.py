"""`streamsvc doctor`: what works here."""

from __future__ import annotations

import argparse

from streamsvc.flags import check_files, write_json


def run(arguments: argparse.Namespace) -> int:
    """Say what works here, and why not; exit status 1 when something that a call needs doesn't."""
    from dataclasses import asdict

    from streamsvc.doctor import diagnose, render

    check_files(arguments)
    checks = diagnose()
    write_json(arguments.json, [asdict(c) for c in checks])
    print(render(checks))
    return 1 if any(c.ok is False for c in checks) else 0


def add_flags(p: argparse.ArgumentParser) -> None:
    """Add nothing: it has no flags of its own."""
