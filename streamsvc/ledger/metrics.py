"""Prometheus metrics computed from closed records, in a registry of their own.

Labels have few values by construction: kind, outcome, reason and stage, never a session; past `NAME_LIMIT` distinct
reasons or stages the rest are counted as "other".
"""

from __future__ import annotations

from collections import deque

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from streamsvc.ledger.figures import is_good, latency_ns
from streamsvc.ledger.records import Record

NAME_LIMIT = 48
GOODPUT_FRAMES = 1000

_LATENCY = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1, 1.5, 2, 3, 4, 5, 7.5, 10, 15)
_STAGE = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.012, 0.016, 0.025, 0.033, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class _Names:
    """Bounds the values of a label."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(self, name: str) -> str:
        if name not in self._seen and len(self._seen) >= NAME_LIMIT:
            return "other"
        self._seen.add(name)
        return name


class Metrics:
    """What `/metrics` says. `add` is a listener of the `Ledger`; all methods may be called from any thread."""

    def __init__(self, q_min: float | None = None) -> None:
        self.registry = CollectorRegistry()
        self._q_min = q_min
        self._reasons, self._stages = _Names(), _Names()
        self._good: deque[bool] = deque(maxlen=GOODPUT_FRAMES)
        kind = ["kind"]
        self._latency = Histogram(
            "streamsvc_latency_seconds",
            "Capture to display of frames; end of audio to commit of speech",
            kind,
            buckets=_LATENCY,
            registry=self.registry,
        )
        self._stage = Histogram(
            "streamsvc_stage_seconds", "Time in one stage", ["kind", "stage"], buckets=_STAGE, registry=self.registry
        )
        self._records = Counter(
            "streamsvc_records",
            "Frame sets and speech passes by outcome; reason says why one was dropped",
            ["kind", "outcome", "reason"],
            registry=self.registry,
        )
        self._goodput = Gauge(
            "streamsvc_goodput_ratio",
            f"Frames displayed in time at or above the floor, over the last {GOODPUT_FRAMES} due",
            registry=self.registry,
        )
        self._words = Counter("streamsvc_speech_words", "Words committed", registry=self.registry)
        self._restarts = Counter(
            "streamsvc_worker_restarts", "Workers and lanes that were replaced", ["reason"], registry=self.registry
        )
        self._sessions = Gauge("streamsvc_sessions", "Sessions now open", registry=self.registry)

    def add(self, record: Record) -> None:
        """Take a closed record."""
        self._records.labels(record.kind, record.outcome, self._reasons(record.reason or "")).inc()
        latency = latency_ns(record)
        if latency is not None and (record.kind == "view" or record.text):
            self._latency.labels(record.kind).observe(latency / 1e9)
        for stage in record.stages:
            seconds = (stage.end_ns - stage.start_ns) / 1e9
            self._stage.labels(record.kind, self._stages(stage.name)).observe(seconds)
        if record.kind == "view":
            self._good.append(is_good(record, self._q_min))
            self._goodput.set(sum(self._good) / len(self._good))
        elif record.text:
            self._words.inc(len(record.text.split()))

    def restarted(self, reason: str) -> None:
        """Count a worker or lane that was replaced because it was `reason` (killed, hung, out of memory)."""
        self._restarts.labels(self._reasons(reason)).inc()

    def sessions(self, count: int) -> None:
        """Say how many sessions are open."""
        self._sessions.set(count)

    def expose(self) -> bytes:
        """Return the text exposition."""
        return generate_latest(self.registry)
