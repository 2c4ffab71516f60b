"""aiortc's peer connection, made of our senders, receivers and transports; and consent checks in seconds.

Guards: an empty datagram, a malformed header extension, or anything else that a parser chokes on, is counted and
dropped where the stock transport would end; packets whose SSRC the SDP did not announce are routed by their MID
(RFC 8843, section 9.2), which several cameras on one transport need. DTLS is also spoken with peers that have RSA
certificates.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import aioice.stun
from aiortc.exceptions import InvalidStateError
from aiortc.rtcconfiguration import RTCConfiguration
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsTransport, RtpRouter, SRTPProtectionProfile
from aiortc.rtcpeerconnection import RTCPeerConnection
from aiortc.rtcrtptransceiver import RTCRtpTransceiver
from aiortc.rtp import RtpPacket
from OpenSSL import SSL

from streamsvc.edge.adaptation import Private
from streamsvc.edge.estimate import Estimator
from streamsvc.edge.extensions import ExtensionsMap
from streamsvc.edge.rtp_receiver import Receiver
from streamsvc.edge.rtp_sender import Sender

logger = logging.getLogger(__name__)

CONSENT_INTERVAL_S = 0.4
CONSENT_FAILURES = 3
"""Each failed check lasts the interval (0.8 to 1.2 of it) and 0.5 s of waiting, so loss shows within 3 s."""

CUT_S = 180.0
"""What a part that hangs has to end; a relay is given up by aioice when its server hasn't answered for 64 s, twice."""

CIPHERS = ":".join(
    f"ECDHE-{key}-{cipher}"
    for key in ("ECDSA", "RSA")
    for cipher in ("AES128-GCM-SHA256", "CHACHA20-POLY1305", "AES128-SHA", "AES256-SHA")
).encode()
"""aiortc's own are those of ECDSA, which a DTLS server with an RSA certificate can't choose; GStreamer's webrtcbin is
one."""


class Certificate(RTCCertificate):
    """A certificate whose owner also takes RSA's from the other side."""

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        context = super()._create_ssl_context(srtp_profiles)
        context.set_cipher_list(CIPHERS)
        return context


MAX_UNREAD = 8192
"""Datagrams that wait to be read, 12 MB: what comes at 20 Mb/s while a loop is held up for seconds."""

MAX_LEARNED = 64
"""Unannounced SSRCs whose way is remembered: two for each of eight cameras and a voice, several times over."""


class MidRouter(RtpRouter):
    """Routes an unannounced SSRC by the MID header extension before guessing from the payload type."""

    def __init__(self) -> None:
        super().__init__()
        self._learned: deque[int] = deque()

    def route_rtp(self, packet: RtpPacket) -> Any:
        """Return the receiver of `packet`, None to drop it."""
        known = packet.ssrc in self.ssrc_table
        if not known and packet.extensions.mid in self.mid_table:
            self.ssrc_table[packet.ssrc] = self.mid_table[packet.extensions.mid]
        receiver = super().route_rtp(packet)
        if not known and packet.ssrc in self.ssrc_table:
            self._learned.append(packet.ssrc)
            if len(self._learned) > MAX_LEARNED:
                self.ssrc_table.pop(self._learned.popleft(), None)
        return receiver


class PeerConnection(RTCPeerConnection):
    """See the module. `malformed` counts packets that could not be parsed; `on_lost` is called when the peer
    vanished."""

    ice_transports = Private(RTCPeerConnection, "iceTransports")
    certificates = Private(RTCPeerConnection, "certificates")

    def __init__(self, configuration: RTCConfiguration, on_lost: Callable[[], None]) -> None:
        self.malformed = 0
        self._on_lost = on_lost
        self.heard_s = 0.0
        self._estimator = Estimator()
        super().__init__(configuration)
        self.certificates = [Certificate(stock._key, stock._cert) for stock in self.certificates]

    def _RTCPeerConnection__createTransceiver(  # noqa: N802
        self, direction: str, kind: str, sender_track: Any = None
    ) -> RTCRtpTransceiver:
        # The mangled name is not in the type stubs.
        transceiver: Any = super()._RTCPeerConnection__createTransceiver(  # type: ignore[misc]
            direction, kind, sender_track
        )
        stock = transceiver.sender
        # The stock pair has not started anything yet, so it can simply be left to the garbage collector.
        sender = Sender(sender_track or kind, stock.transport)
        sender._stream_id = stock._stream_id
        receiver = Receiver(kind, stock.transport, self._estimator)
        receiver._set_rtcp_ssrc(sender._ssrc)
        transceiver._RTCRtpTransceiver__sender = sender
        transceiver._RTCRtpTransceiver__receiver = receiver
        adapted: RTCRtpTransceiver = transceiver
        return adapted

    def _RTCPeerConnection__createDtlsTransport(self) -> RTCDtlsTransport:  # noqa: N802
        transport: Any = super()._RTCPeerConnection__createDtlsTransport()  # type: ignore[misc]
        transport._rtp_router = MidRouter()
        transport._rtp_header_extensions_map = ExtensionsMap()
        transport._handle_rtp_data = self._heard(transport._handle_rtp_data)
        transport._handle_rtcp_data = self._heard(transport._handle_rtcp_data)
        transport._recv_next = self._surviving(transport._recv_next)
        ice = transport.transport._connection
        ice.data_received = bounded(ice.data_received, ice._queue)
        ice.query_consent = lambda: query_consent(ice, lambda: self.heard_s, self._on_lost)
        adapted: RTCDtlsTransport = transport
        return adapted

    async def _RTCPeerConnection__connect(self) -> None:  # noqa: N802
        try:
            await super()._RTCPeerConnection__connect()  # type: ignore[misc]
        except InvalidStateError as error:
            # It runs as a task that nobody awaits.
            logger.debug("the peer was lost while it connected: %s", error)

    def cut(self) -> None:
        """End what `close` would, where that hangs or failed: the sockets at once, and every part by itself, so that
        one that hangs keeps no other from ending."""
        parts: list[Coroutine[Any, Any, None]] = []
        for ice in self.ice_transports:
            for protocol in ice._connection._protocols:
                if hasattr(protocol.transport, "abort"):  # that of a relay has none, and is closed with the others
                    protocol.transport.abort()
            parts.append(ice._connection.close())
        for transceiver in self.getTransceivers():
            parts += [transceiver.receiver.stop(), transceiver.sender.stop(), transceiver.receiver.transport.stop()]
        if self.sctp is not None:
            parts += [self.sctp.stop(), self.sctp.transport.stop()]
        self._cutting = asyncio.ensure_future(
            asyncio.gather(*(asyncio.wait_for(part, CUT_S) for part in parts), return_exceptions=True)
        )

    def _heard(self, handle: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def heard(*args: Any, **kwargs: Any) -> None:
            self.heard_s = time.monotonic()
            await handle(*args, **kwargs)

        return heard

    def _surviving(self, take: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        """What `take` raises, but for the end of the connection, is the packet's fault: anybody may send one, even
        an empty one, and none may end a call."""
        told: set[type[Exception]] = set()

        async def surviving(*args: Any, **kwargs: Any) -> None:
            try:
                await take(*args, **kwargs)
            except (ConnectionError, SSL.Error):
                raise
            except Exception as error:
                self.malformed += 1
                level = logging.DEBUG if type(error) in told else logging.INFO
                logger.log(level, "a packet was dropped: %r", error)
                told.add(type(error))
                await asyncio.sleep(0)

        return surviving


def bounded(take: Callable[[bytes, int], None], queue: asyncio.Queue[Any]) -> Callable[[bytes, int], None]:
    """Return `take`, which puts into `queue`, for as long as that holds less than `MAX_UNREAD`: until a connection is
    up nobody reads, and anybody may send."""

    def received(data: bytes, component: int) -> None:
        if queue.qsize() < MAX_UNREAD:
            take(data, component)

    return received


async def query_consent(ice: Any, heard_s: Callable[[], float], on_lost: Callable[[], None]) -> None:
    """Check that the peer is still there (RFC 7675, faster): after `CONSENT_FAILURES` failures in a row close `ice`.

    `heard_s` returns when the last authenticated packet came (monotonic seconds); one that came during a check makes
    up for an answer that did not. Ends with `ice`: aioice begins these checks also when it is closed just as it has
    connected, and then nobody cancels them.
    """
    failures = 0
    while not ice._closed:
        since = time.monotonic()
        await asyncio.sleep(CONSENT_INTERVAL_S * (0.8 + 0.4 * random.random()))
        for pair in list(ice._nominated.values()):
            try:
                await pair.protocol.request(
                    ice.build_request(pair, nominate=False),
                    pair.remote_addr,
                    integrity_key=ice.remote_password.encode(),
                    retransmissions=0,
                )
                failures = 0
            except aioice.stun.TransactionError:
                failures += 1
        if heard_s() > since:
            failures = 0
        if failures >= CONSENT_FAILURES:
            on_lost()
            # close() would cancel and await this very task.
            ice._query_consent_task = None
            await ice.close()
            return
