"""Data channels: what can't be sent is dropped, whoever sends is told, and what follows is sent all the same."""

from typing import Any

import pytest
from aiortc.exceptions import InvalidStateError

from streamsvc.edge.channels import MAX_CHANNELS, RELIABLE_BUFFER, Channels


class Open:
    """An open channel of which the other side takes at most ten characters a message."""

    readyState, maxRetransmits, maxPacketLifeTime = "open", None, None  # noqa: N815

    def __init__(self, waiting: int = 0, error: Exception | None = None, label: str = "captions") -> None:
        self.bufferedAmount, self._error, self.label = waiting, error, label
        self.sent: list[str] = []
        self.closed = False

    def on(self, event: str, listener: Any) -> None: ...

    def close(self) -> None:
        self.closed = True

    def send(self, text: str) -> None:
        if self._error is not None:
            raise self._error
        if len(text) > 10:
            raise ValueError("the remote party only supports messages up to 10 bytes")
        self.sent.append(text)


def channels(channel: Any) -> Channels:
    made = Channels()
    made.add(channel)
    return made


def test_what_is_more_than_the_other_side_takes_is_dropped_and_what_follows_is_sent() -> None:
    channel = Open()
    made = channels(channel)
    assert not made.send("captions", "more than ten characters")
    assert made.send("captions", "few") and channel.sent == ["few"]


@pytest.mark.parametrize("channel", [Open(waiting=RELIABLE_BUFFER + 1), Open(error=InvalidStateError())])
def test_what_has_no_way_is_dropped(channel: Open) -> None:
    made = channels(channel)
    assert not made.send("captions", "few") and not made.send("ledger", "few")
    assert channel.sent == []


def test_a_peer_may_open_eight_channels_and_no_more() -> None:
    made = Channels()
    opened = [Open(label=f"channel {i}") for i in range(20)]
    for channel in opened:
        made.add(channel)
    assert [c.closed for c in opened] == [False] * MAX_CHANNELS + [True] * 12
    again = Open(label="channel 3")
    made.add(again)
    assert opened[3].closed and not again.closed and made.send("channel 3", "hello") and again.sent == ["hello"]
