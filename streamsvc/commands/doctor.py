"""`streamsvc doctor`: what works here."""

from __future__ import annotations

import argparse

from streamsvc.flags import write_json


def run(arguments: argparse.Namespace) -> int:
    """Say what works here, and why not."""
    from dataclasses import asdict

    from streamsvc.doctor import diagnose, render

    checks = diagnose()
    write_json(arguments.json, [asdict(c) for c in checks])
    print(render(checks))
    return 0


def add_flags(p: argparse.ArgumentParser) -> None:
    """Add nothing: it has no flags of its own."""
