"""What a running service says of itself, for benches that watch one from outside. Everything here blocks."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from typing import Any

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

ANSWER_S = 10.0


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=ANSWER_S) as answer:
        body: bytes = answer.read()
    return body


def health(url: str) -> dict[str, Any]:
    """Return `/healthz` of the service at `url`; OSError where it doesn't answer."""
    document: dict[str, Any] = msgspec.json.decode(_get(f"{url}/healthz"))
    return document


def metrics(url: str) -> Iterator[Sample]:
    """Yield the samples of `/metrics` of the service at `url`; OSError where it doesn't answer."""
    for family in text_string_to_metric_families(_get(f"{url}/metrics").decode()):
        yield from family.samples
