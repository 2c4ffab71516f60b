"""The state machine of one connection, and tokens and origins: pure, under a mock clock."""

from __future__ import annotations

import base64
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.budget.clock import MockClock
from streamsvc.cli import main
from streamsvc.config import ConfigError, Limits
from streamsvc.signalling.auth import TokenBook, origin_allowed, sign
from streamsvc.signalling.grants import Grant
from streamsvc.signalling.messages import (
    MAX_MESSAGE_BYTES,
    Candidate,
    ClientMessage,
    Configure,
    Error,
    Join,
    Leave,
    Offer,
    Record,
    SignallingError,
    encode,
)
from streamsvc.signalling.protocol import Close, Conversation, State, TokenBucket

JOIN = Join(room="lab", name="Ana")
SECOND_NS = 1_000_000_000


def conversation(limits: Limits | None = None) -> tuple[Conversation, MockClock]:
    clock = MockClock()
    return Conversation(limits or Limits(), clock.now_ns()), clock


def go(c: Conversation, message: ClientMessage) -> None:
    step = c.take(encode(message), 0)
    assert step.message == message and step.error is None
    c.succeeded(message)


def test_join_offer_candidate_configure_offer_leave_is_the_ordinary_way() -> None:
    c, _ = conversation()
    go(c, JOIN)
    go(c, Configure())
    go(c, Record(action="ask"))
    go(c, Offer(sdp="v=0"))
    go(c, Candidate(candidate=None))
    go(c, Offer(sdp="v=0"))
    step = c.take(encode(Leave()), 0)
    assert step.close is Close.NORMAL and c.state is State.CLOSED
    assert c.take(encode(JOIN), 0).message is None


@pytest.mark.parametrize("message", [Offer(sdp="v=0"), Candidate(candidate="x"), Configure(), Record(action="ask")])
def test_nothing_is_allowed_before_join(message: ClientMessage) -> None:
    c, _ = conversation()
    step = c.take(encode(message), 0)
    assert step.message is None and step.close is None
    assert step.error is not None and step.error.code == "unexpected"
    assert step.error.re == message.__struct_config__.tag


def test_join_is_allowed_once_and_candidates_only_after_an_offer() -> None:
    c, _ = conversation()
    go(c, JOIN)
    for message in (JOIN, Candidate(candidate="x")):
        step = c.take(encode(message), 0)
        assert step.error is not None and step.error.code == "unexpected"
    assert c.state is State.JOINED


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("{", "not-json"),
        ('{"type":"dance"}', "bad-message"),
        ('{"type":"leave","v":2}', "bad-message"),
        (b'{"type":"leave"}', "bad-message"),
        ("x" * (MAX_MESSAGE_BYTES + 1), "too-large"),
    ],
)
def test_what_cannot_be_read_is_told_and_changes_nothing(data: str | bytes, code: str) -> None:
    c, _ = conversation()
    step = c.take(data, 0)
    assert step.error is not None and (step.error.code, step.error.re) == (code, None)
    assert step.close is None and c.state is State.NEW


def test_a_failed_join_may_be_tried_again_up_to_the_limit() -> None:
    c, _ = conversation(Limits(join_attempts=3))
    for last in (False, False, True):
        assert c.take(encode(JOIN), 0).message == JOIN
        step = c.failed(JOIN, Error(code="room-full", message="full"))
        assert step.error == Error(code="room-full", message="full", re="join")
        assert step.close is (Close.POLICY if last else None)
    assert c.state is State.CLOSED


def test_a_failed_offer_leaves_the_connection_open_however_often() -> None:
    c, _ = conversation()
    go(c, JOIN)
    for _ in range(20):
        assert c.failed(Offer(sdp="x"), Error(code="bad-sdp", message="no")).close is None
    assert c.state is State.JOINED


def test_who_does_not_join_in_time_is_told_and_closed() -> None:
    c, clock = conversation(Limits(join_timeout_s=10.0))
    clock.advance(10 * SECOND_NS - 1)
    assert c.expired(clock.now_ns()).close is None
    clock.advance(1)
    step = c.expired(clock.now_ns())
    assert step.close is Close.POLICY and step.error is not None and step.error.code == "join-timeout"


def test_who_joined_never_expires() -> None:
    c, clock = conversation()
    go(c, JOIN)
    clock.advance(10_000 * SECOND_NS)
    assert c.expired(clock.now_ns()).close is None


def test_a_burst_passes_and_a_flood_is_told_once_then_closed() -> None:
    c, _ = conversation(Limits(messages_per_s=10.0, message_burst=5))
    steps = [c.take("{", 0) for _ in range(5 + 50 + 1)]
    codes = [s.error.code if s.error else None for s in steps]
    assert codes[:5] == ["not-json"] * 5
    assert codes[5] == "too-many-messages"
    assert codes[6:-1] == [None] * 49
    assert codes[-1] == "too-many-messages" and steps[-1].close is Close.POLICY


def test_a_flood_that_trickles_through_is_still_closed() -> None:
    c, clock = conversation(Limits(messages_per_s=30.0, message_burst=5))
    closed = False
    for _ in range(1000):
        clock.advance(SECOND_NS // 200)
        closed = closed or c.take("{", clock.now_ns()).close is Close.POLICY
    assert closed


def test_the_allowed_rate_is_never_refused() -> None:
    c, clock = conversation(Limits(messages_per_s=10.0, message_burst=1))
    go(c, JOIN)
    for _ in range(500):
        clock.advance(SECOND_NS // 10)
        assert c.take(encode(Configure()), clock.now_ns()).error is None


@given(st.lists(st.integers(0, 2 * SECOND_NS), max_size=60), st.floats(0.5, 50), st.integers(1, 20))
def test_bucket_never_gives_more_than_burst_and_rate(gaps: list[int], per_s: float, burst: int) -> None:
    now, taken = 0, 0
    bucket = TokenBucket(per_s=per_s, burst=burst, now_ns=0)
    for gap in gaps:
        now += gap
        taken += bucket.take(now)
        assert taken <= burst + per_s * now / 1e9 + 1e-6


def test_tokens_open_every_room_or_the_one_they_name(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# people\n\nalpha\nbeta room=The Lab\n\tgamma\troom=x \n")
    book = TokenBook.read(file)
    book.check_join("alpha", "any")
    book.check_join("beta", "the lab")
    book.check_join("gamma", "x")
    for token, room in ((None, "any"), ("", "any"), ("wrong", "any"), ("beta", "any"), ("Alpha", "any")):
        with pytest.raises(SignallingError) as e:
            book.check_join(token, room)
        assert e.value.code == "bad-token"
        assert "alpha" not in str(e.value) and (not token or token not in str(e.value))


def test_bearer_needs_a_token_that_is_not_bound_to_a_room(tmp_path: Path) -> None:
    book = TokenBook([("alpha", None), ("beta", "lab")])
    assert book.check_bearer("Bearer alpha") and book.check_bearer("bearer  alpha")
    for header in (None, "", "alpha", "Basic alpha", "Bearer", "Bearer beta", "Bearer alphab"):
        assert not book.check_bearer(header)


KEY = "k" * 40


def opens(book: TokenBook, token: str, room: str) -> bool:
    try:
        book.check_join(token, room)
    except SignallingError as e:
        assert e.code == "bad-token" and (not token or token not in str(e))
        return False
    return True


def test_a_signed_token_opens_its_room_until_its_time_is_over() -> None:
    now = [1000.0]
    book = TokenBook([("alpha", None)], [KEY], lambda: now[0])
    lab, every = sign(Grant(until=1060, room="The Lab"), KEY), sign(Grant(until=1060), KEY)
    assert opens(book, lab, "the lab") and not opens(book, lab, "other") and opens(book, every, "other")
    assert book.check_bearer(f"Bearer {every}") and not book.check_bearer(f"Bearer {lab}")
    now[0] = 1060.0
    assert not opens(book, lab, "the lab") and not opens(book, every, "other") and opens(book, "alpha", "other")


def test_a_token_that_was_signed_with_another_key_opens_nothing() -> None:
    token = sign(Grant(until=2e9), "x" * 40)
    assert not opens(TokenBook([("alpha", None)], [KEY], lambda: 0.0), token, "lab")
    assert opens(TokenBook((), [KEY, "x" * 40], lambda: 0.0), token, "lab")
    assert not opens(TokenBook([("alpha", None)]), token, "lab")
    assert not opens(TokenBook((), [KEY]), "", "lab")


@given(st.data())
def test_a_signed_token_that_was_changed_opens_nothing(data: st.DataObject) -> None:
    book = TokenBook((), [KEY], lambda: 0.0)
    token = sign(Grant(until=1e9, room="lab"), KEY)
    at = data.draw(st.integers(0, len(token) - 1))
    new = data.draw(st.sampled_from([*"Aa0-_.=", "\xe9", "\ud800", ""]))
    changed = token[:at] + new + token[at + 1 :]
    # The last character of a base64 text has bits that mean nothing, but it is the text that is compared.
    assert opens(book, changed, "lab") == (changed == token)


@pytest.mark.parametrize(
    "payload", ["", "e30", "W10", "eyJ1bnRpbCI6ICJsYXRlciJ9", "////", "eyJ1bnRpbCI6MWU5LCJ4IjoxfQ"]
)
def test_what_is_signed_but_no_grant_opens_nothing(payload: str) -> None:
    body = f"s1.{payload}"
    mac = base64.urlsafe_b64encode(hmac.digest(KEY.encode(), body.encode(), "sha256")).rstrip(b"=").decode()
    assert not opens(TokenBook((), [KEY], lambda: 0.0), f"{body}.{mac}", "lab")


def test_a_token_is_made_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"alpha\nkey={KEY}\n")
    file.chmod(0o600)
    with pytest.raises(SystemExit) as e:
        main(["token", "--token-file", str(file), "--room", "lab", "--valid", "2h"])
    token = capsys.readouterr().out.strip()
    assert e.value.code == 0 and opens(TokenBook.read(file), token, "lab")
    file.write_text("alpha\n")
    for flags, told in (([], "has no key"), (["--valid", "soon"], "at most a year"), (["--valid", "900d"], "year")):
        with pytest.raises(SystemExit) as e:
            main(["token", "--token-file", str(file), *flags])
        assert e.value.code == 2 and told in capsys.readouterr().err


def test_without_a_token_file_everybody_may_join() -> None:
    TokenBook().check_join(None, "lab")
    assert TokenBook().check_bearer(None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("secret rom=lab\n", "line 1: after the token only room=NAME"),
        ("ok\nsecret room=\n", "line 2"),
        ("# no\n", "no token"),
        ("key=secret\n", "line 1: a key has at least 32"),
    ],
)
def test_token_file_that_cannot_be_used_is_told_without_the_token(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words) as e:
        TokenBook.read(file)
    assert "secret" not in str(e.value) and str(file) in str(e.value)


def test_missing_token_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        TokenBook.read(tmp_path / "none")


@pytest.mark.parametrize(
    ("origin", "host", "listen", "allowed", "expected"),
    [
        (None, "127.0.0.1:8080", "127.0.0.1", (), True),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1", (), True),
        ("http://localhost:8080", "localhost:8080", "127.0.0.1", (), True),
        ("http://[::1]:8080", "[::1]:8080", "::1", (), True),
        ("https://call.example", "call.example", "0.0.0.0", (), True),
        ("https://call.example:443", "call.example", "0.0.0.0", (), True),
        ("https://CALL.example", "call.EXAMPLE", "0.0.0.0", (), True),
        ("https://evil.example", "127.0.0.1:8080", "127.0.0.1", (), False),
        ("http://127.0.0.1:9090", "127.0.0.1:8080", "127.0.0.1", (), False),
        ("http://evil.example:8080", "evil.example:8080", "127.0.0.1", (), False),  # DNS rebinding
        ("null", "127.0.0.1:8080", "127.0.0.1", (), False),
        ("", "127.0.0.1:8080", "127.0.0.1", (), False),
        ("http://[", "127.0.0.1:8080", "127.0.0.1", (), False),
        ("http://a:99999", "a:99999", "0.0.0.0", (), False),
        ("https://page.example", "127.0.0.1:8080", "127.0.0.1", ("https://page.example/",), True),
        ("https://page.example.evil.example", "h", "127.0.0.1", ("https://page.example",), False),
        ("https://any.example", "h", "127.0.0.1", ("*",), True),
    ],
)
def test_only_our_own_page_and_allowed_ones_may_open_a_connection(
    origin: str | None, host: str, listen: str, allowed: tuple[str, ...], expected: bool
) -> None:
    headers = {"host": host} | ({} if origin is None else {"origin": origin})
    assert origin_allowed(headers, listen_host=listen, allowed=allowed) is expected
