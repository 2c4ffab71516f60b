"""Every figure that the README quotes, measured."""

from streamsvc.bench.session import SessionBench, run_session

__all__ = ["SessionBench", "run_session"]
