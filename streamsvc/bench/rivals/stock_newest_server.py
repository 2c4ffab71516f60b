"""The same server with the one switch that aiortc has for a slow consumer: its relay keeps only the newest picture."""

from __future__ import annotations

from typing import Any

import stock_server


def application(job: Any) -> tuple[Any, str]:
    """Return the server and its path."""
    app, path = stock_server.application(job, buffered=False)
    return app, path
