"""The root of every error that bad input may raise; rooms derive their own, none reaches a user as a traceback."""

from __future__ import annotations


class StreamsvcError(Exception):
    """What was wrong and what is accepted, in one sentence that a user can act on."""
