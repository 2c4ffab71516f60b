"""The outbox: order, bound, end."""

from __future__ import annotations

from streamsvc.signalling.messages import Notice, Peers, decode_server
from streamsvc.signalling.outbox import Outbox


def notice(n: int) -> Notice:
    return Notice(code="n", message=str(n))


async def drain(outbox: Outbox) -> list[str]:
    outbox.end()
    texts = []
    while (text := await outbox.get()) is not None:
        message = decode_server(text)
        texts.append(message.message if isinstance(message, Notice) else "joined")
    return texts


async def test_messages_come_in_order_and_end() -> None:
    outbox = Outbox(4)
    for n in range(4):
        outbox.send(notice(n))
    assert await drain(outbox) == ["0", "1", "2", "3"]
    outbox.send(notice(5))
    outbox.end()
    assert not outbox.overflowed.is_set()


async def test_what_does_not_fit_is_told_and_everything_later_dropped() -> None:
    outbox = Outbox(2)
    for n in range(5):
        outbox.send(notice(n))
    assert outbox.overflowed.is_set()
    assert await drain(outbox) == ["0", "1"]


async def test_what_was_held_comes_after_the_first() -> None:
    outbox = Outbox(4)
    outbox.hold()
    outbox.send(notice(1))
    outbox.send(notice(2))
    outbox.release_after(Peers(peers=[]))
    outbox.send(notice(3))
    assert await drain(outbox) == ["joined", "1", "2", "3"]


async def test_what_was_held_counts_and_may_overflow() -> None:
    outbox = Outbox(2)
    outbox.hold()
    outbox.send(notice(1))
    outbox.send(notice(2))
    outbox.release_after(Peers(peers=[]))
    assert outbox.overflowed.is_set()
    assert await drain(outbox) == ["joined", "1"]


async def test_what_was_held_for_a_failed_join_is_forgotten() -> None:
    outbox = Outbox(2)
    outbox.hold()
    outbox.send(notice(1))
    outbox.discard_held()
    outbox.send(notice(2))
    assert await drain(outbox) == ["2"]
