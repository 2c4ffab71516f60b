"""Who is there, who is waited for, and who has left; on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamsvc.session import presence
from streamsvc.session.presence import GRACE_S, Presence
from streamsvc.signalling.messages import Notice, ServerMessage


class Timer:
    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self.seconds, self.call, self.cancelled = seconds, call, False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    def __init__(self) -> None:
        self.timers: list[Timer] = []

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(seconds, call))
        return self.timers[-1]


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    made = Loop()
    monkeypatch.setattr(presence.asyncio, "get_running_loop", lambda: made)
    return made


def present(*, resumable: bool = True) -> tuple[Presence, list[object]]:
    news: list[object] = []
    return Presence(news.append, resumable=resumable, away=news.append, gone=lambda: news.append("gone")), news


def test_lost_media_are_waited_for_and_who_comes_back_was_never_gone(loop: Loop) -> None:
    who, news = present()
    who.media(True)
    who.media(False)
    assert who.is_away and news == [True] and [t.seconds for t in loop.timers] == [GRACE_S]
    who.media(False)
    who.media(True)
    assert not who.is_away and news == [True, False] and loop.timers[0].cancelled and len(loop.timers) == 1


def test_who_lost_both_needs_both_back(loop: Loop) -> None:
    who, news = present()
    heard: list[ServerMessage] = []
    who.media(True)
    who.media(False)
    who.socket(None)
    who.socket(heard.append)
    assert who.is_away and news == [True]
    who.media(True)
    assert not who.is_away and news == [True, False]
    who.send(Notice(code="x", message="y"))
    assert len(heard) == 1


def test_who_does_not_come_back_in_time_has_left_once(loop: Loop) -> None:
    who, news = present()
    who.socket(None)
    loop.timers[0].call()
    loop.timers[0].call()
    who.media(False)
    who.socket(news.append)
    assert news == [True, "gone"] and len(loop.timers) == 1


def test_who_can_not_come_back_has_left_at_once(loop: Loop) -> None:
    who, news = present(resumable=False)
    assert who.key is None
    who.media(True)
    who.media(False)
    assert news == ["gone"] and not loop.timers


def test_nobody_waits_for_who_left(loop: Loop) -> None:
    who, news = present()
    who.media(False)
    who.end()
    assert loop.timers[0].cancelled and not who.is_away
    who.socket(None)
    loop.timers[0].call()
    assert news == [True]


def test_every_session_has_a_key_of_its_own_that_can_not_be_guessed(loop: Loop) -> None:
    keys = {present()[0].key for _ in range(20)}
    assert len(keys) == 20 and all(key is not None and len(key) >= 20 for key in keys)
