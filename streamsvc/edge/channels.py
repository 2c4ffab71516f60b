"""The data channels of a connection, by label: text in, text out, and nothing that is sent ever waits without bound."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiortc import RTCDataChannel
from aiortc.exceptions import InvalidStateError

logger = logging.getLogger(__name__)

UNRELIABLE_BUFFER = 16_384
RELIABLE_BUFFER = 4_194_304
MAX_CHANNELS = 8
"""Three are used; each holds memory for as long as the connection lasts."""


@dataclass(frozen=True, slots=True)
class ChannelSpec:
    """A data channel to open. `max_retransmits` 0 and `ordered` False is the unreliable kind where the newest wins."""

    label: str
    ordered: bool = True
    max_retransmits: int | None = None


class Channels:
    """`on_message(label, text)` is called for text; binary messages are not part of the wire and are ignored.

    A second channel with the label of a first one takes its place.
    """

    def __init__(self) -> None:
        self.on_message: Callable[[str, str], None] | None = None
        self._channels: dict[str, RTCDataChannel] = {}

    def add(self, channel: RTCDataChannel) -> None:
        """Take a channel that either side opened; close it where there are `MAX_CHANNELS` others, or the one of the
        same label before it."""
        before = self._channels.get(channel.label)
        if before is None and len(self._channels) >= MAX_CHANNELS:
            logger.info("a data channel too many was closed")
            channel.close()
            return
        if before is not None:
            before.close()
        self._channels[channel.label] = channel

        def on_message(message: Any) -> None:
            if isinstance(message, str) and self.on_message is not None:
                try:
                    self.on_message(channel.label, message)
                except Exception:
                    # aiortc would end the SCTP association.
                    logger.exception("on_message failed")

        def on_close() -> None:
            if self._channels.get(channel.label) is channel:
                del self._channels[channel.label]

        channel.on("message", on_message)
        channel.on("close", on_close)

    def send(self, label: str, text: str) -> bool:
        """Send `text`; returns whether it was taken.

        Dropped when the channel is not open, when too much is waiting already (16 KiB on an unreliable channel, 4 MiB
        on a reliable one), and when it is more than the other side takes in one message.
        """
        channel = self._channels.get(label)
        if channel is None or channel.readyState != "open":
            return False
        unreliable = channel.maxRetransmits is not None or channel.maxPacketLifeTime is not None
        if channel.bufferedAmount > (UNRELIABLE_BUFFER if unreliable else RELIABLE_BUFFER):
            return False
        try:
            channel.send(text)
        except (ValueError, InvalidStateError, ConnectionError):
            return False
        return True
