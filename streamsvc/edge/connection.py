"""One WebRTC connection, as both the service and our headless peer use it.

Promises: nothing that the other side sends gets past this class as anything but a typed error or a callback; `close`
ends within its timeout whatever hangs; a peer that vanishes without goodbye is noticed within 3 s; with no ICE
servers given, no host outside is contacted. `on_state` is told connecting, connected and then, once, failed (lost, or
never came up) or closed (goodbye by either side); after that only `close` is useful.

Everything lives on one event loop; callbacks run there and must only store or schedule.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCSessionDescription,
)
from aiortc.exceptions import InternalError, InvalidAccessError, InvalidStateError, OperationError
from aiortc.rtcicetransport import connection_kwargs

from streamsvc.edge import sections
from streamsvc.edge.adaptation import require_aiortc
from streamsvc.edge.channels import Channels, ChannelSpec
from streamsvc.edge.codecs import VideoEncoder
from streamsvc.edge.errors import EdgeError
from streamsvc.edge.peerconnection import PeerConnection
from streamsvc.edge.receive import AudioIn, VideoIn
from streamsvc.edge.rtp_receiver import Receiver
from streamsvc.edge.rtp_sender import Sender
from streamsvc.edge.sdp import (
    PARSER_ERRORS,
    BitrateFloor,
    SdpLimits,
    check_description,
    parse_candidate,
    sending,
    with_bitrate_floor,
)
from streamsvc.edge.send import AudioOut, VideoOut
from streamsvc.edge.statistics import ConnectionStatistics, received_statistics, sent_statistics
from streamsvc.edge.traffic import Sums, Traffic

logger = logging.getLogger(__name__)

T = TypeVar("T")
CONNECT_TIMEOUT_S = 15.0
_AIORTC_ERRORS = (*PARSER_ERRORS, InternalError, InvalidAccessError, OperationError)

_live: set[Connection] = set()
_ended = Sums()


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server: `urls` as in RFC 7064/7065, e.g. "turn:host:3478?transport=udp"."""

    urls: tuple[str, ...]
    username: str | None = None
    credential: str | None = None


class Connection:
    """See the module. With `relay_only` there is no way but through the TURN server among `ice_servers`.

    Make it on a running loop; raises EdgeError (bad-ice-server, no-turn, unsupported-aiortc).
    """

    def __init__(
        self,
        *,
        ice_servers: Sequence[IceServer] = (),
        relay_only: bool = False,
        on_state: Callable[[str], None] | None = None,
        limits: SdpLimits | None = None,
        floor: BitrateFloor | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        require_aiortc()
        self.on_state = on_state
        self.on_video: Callable[[str, VideoIn], None] | None = None
        self.on_audio: Callable[[AudioIn], None] | None = None
        self.videos: dict[str, VideoIn] = {}
        self.audio_in: AudioIn | None = None
        self._limits = limits or SdpLimits()
        self._floor = floor or BitrateFloor()
        self._connect_timeout_s = connect_timeout_s
        self._channels = Channels()
        self._state = "new"
        self._watchdog: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None
        self._candidates = 0
        self._counted = False
        servers = [RTCIceServer(list(s.urls), s.username, s.credential) for s in ice_servers]
        try:
            understood = connection_kwargs(servers)
        except ValueError as error:
            raise EdgeError("bad-ice-server", f"an ICE server is not accepted: {error}") from None
        self._relay = understood.get("turn_server") if relay_only else None
        if relay_only and self._relay is None:
            raise EdgeError("no-turn", "the call is to go through a TURN server, and none that we can use is offered")
        policy = RTCIceTransportPolicy.RELAY if relay_only else RTCIceTransportPolicy.ALL
        configuration = RTCConfiguration(
            iceServers=servers, iceTransportPolicy=policy, bundlePolicy=RTCBundlePolicy.MAX_BUNDLE
        )
        self._pc = PeerConnection(configuration, on_lost=lambda: self._enter("failed"))
        self._pc.on("connectionstatechange", self._on_pc_state)
        self._pc.on("datachannel", self._channels.add)
        _live.add(self)

    @property
    def state(self) -> str:
        """One of new, connecting, connected, failed, closed."""
        return self._state

    # Agreeing on a call.

    async def answer(
        self,
        sdp: str,
        *,
        video: VideoOut | None,
        audio: AudioOut | None,
        allow: Callable[[Mapping[str, int]], None] | None = None,
    ) -> str:
        """Take an offer and return the complete answer (candidates included).

        `video` and `audio` are sent on the first section of their kind that the other side is willing to receive; a
        later offer on the same connection keeps the tracks that are already sent. Of several voices the first is heard.
        `allow` is told, before anything else happens, on how many sections of each kind the other side sends, and may
        raise. Raises EdgeError (too-large, bad-sdp, bad-state); after one the connection can be offered again unless
        the code is bad-state.
        """
        text = check_description(sdp, self._limits)
        if allow is not None:
            allow(sending(text))
        await self._apply(self._pc.setRemoteDescription(RTCSessionDescription(text, "offer")))
        sections.agree_extensions(self._pc.getTransceivers(), text)
        for track in (video, audio):
            if track is not None:
                sections.attach(self._pc.getTransceivers(), track)
        self._add_tracks()
        await self._apply(self._pc.setLocalDescription())
        self._watch()
        return with_bitrate_floor(self._pc.localDescription.sdp, self._floor)

    async def offer(
        self,
        videos: Sequence[VideoOut],
        audio: AudioOut | None,
        *,
        receive_video: bool = True,
        receive_audio: bool = True,
        audio_first: bool = False,
        channels: Sequence[ChannelSpec] = (),
    ) -> str:
        """Return a complete offer (candidates included) that sends `videos` in order and `audio`, and receives one
        video (on the first of its sections) and one voice. `mids` tells which section carries which video. Raises
        EdgeError (no-relay)."""
        voice = audio is not None or receive_audio
        if voice and audio_first:
            self._add_voice(audio, receive_audio)
        for i in range(max(len(videos), int(receive_video))):
            track = videos[i] if i < len(videos) else None
            receive = receive_video and i == 0
            direction = "recvonly" if track is None else "sendrecv" if receive else "sendonly"
            sections.prefer(self._pc.addTransceiver(track or "video", direction), track)
        if voice and not audio_first:
            self._add_voice(audio, receive_audio)
        for spec in channels:
            self._channels.add(
                self._pc.createDataChannel(spec.label, ordered=spec.ordered, maxRetransmits=spec.max_retransmits)
            )
        await self._apply(self._pc.setLocalDescription())
        sdp: str = self._pc.localDescription.sdp
        if self._relay is not None and "a=candidate:" not in sdp:
            host, port = self._relay
            raise EdgeError(
                "no-relay",
                f"the TURN server {host}:{port} gives no relay: it does not answer, or refuses the credentials",
            )
        return sdp

    def _add_voice(self, audio: AudioOut | None, receive: bool) -> None:
        direction = "recvonly" if audio is None else "sendrecv" if receive else "sendonly"
        self._pc.addTransceiver(audio or "audio", direction)

    async def accept(self, answer_sdp: str) -> None:
        """Take the answer to our offer; raises EdgeError (too-large, bad-sdp, bad-state)."""
        text = check_description(answer_sdp, self._limits)
        await self._apply(self._pc.setRemoteDescription(RTCSessionDescription(text, "answer")))
        self._add_tracks()
        self._watch()

    async def add_candidate(self, candidate: str | None, mid: str | None) -> None:
        """Take a trickled candidate, None for the end of them; raises EdgeError("bad-candidate")."""
        if not candidate:
            await self._apply(self._pc.addIceCandidate(None), "bad-candidate")
            return
        self._candidates += 1
        if self._candidates > self._limits.candidates:
            raise EdgeError("bad-candidate", f"at most {self._limits.candidates} candidates are accepted")
        if self._pc.remoteDescription is None:
            raise EdgeError("bad-candidate", "a candidate is accepted only after the offer")
        # Everything is bundled on the first section's transport, whatever section the candidate names.
        parsed = parse_candidate(candidate, self._transport_mid())
        await self._apply(self._pc.addIceCandidate(parsed), "bad-candidate")

    @property
    def mids(self) -> tuple[str, ...]:
        """The mids of the video sections on which we send, in the order of `offer`'s videos."""
        return tuple(t.mid for t in sections.sending(self._pc.getTransceivers(), "video") if t.mid is not None)

    @property
    def picture_bitrate(self) -> int | None:
        """What the picture that we send is encoded at now, bits per second; None before the first one."""
        encoders = (s.encoder for s in cast(list[Sender], self._pc.getSenders()))
        return next((e.target_bitrate for e in encoders if isinstance(e, VideoEncoder)), None)

    @property
    def picture_codec(self) -> str | None:
        """What was agreed for the picture that we send, "VP8" or "H264"; None where we send none."""
        sent = sections.sending(self._pc.getTransceivers(), "video")
        return next((str(c.name) for t in sent for c in t._codecs), None)

    @property
    def sends(self) -> frozenset[str]:
        """The kinds of track ("video", "audio") that we send because the other side takes them."""
        return frozenset(k for k in ("video", "audio") if sections.sending(self._pc.getTransceivers(), k))

    @property
    def channels(self) -> bool:
        """Whether data channels were agreed on; they may not be open yet."""
        return self._pc.sctp is not None

    def _transport_mid(self) -> str | None:
        for transceiver in self._pc.getTransceivers():
            if not transceiver._bundled:
                return str(transceiver.mid)
        return None if self._pc.sctp is None else str(self._pc.sctp.mid)

    def _add_tracks(self) -> None:
        for transceiver in self._pc.getTransceivers():
            mid, receiver = transceiver.mid, cast(Receiver, transceiver.receiver)
            if receiver.track is None or mid is None:
                continue
            if transceiver.kind == "video" and mid not in self.videos:
                self.videos[mid] = VideoIn(mid, receiver)
                if self.on_video is not None:
                    self.on_video(mid, self.videos[mid])
            elif transceiver.kind == "audio" and self.audio_in is None:
                self.audio_in = AudioIn(mid, receiver)
                if self.on_audio is not None:
                    self.on_audio(self.audio_in)
            elif transceiver.kind == "audio" and self.audio_in is not None and self.audio_in.receiver is not receiver:
                # Nobody would read what it decodes.
                transceiver.direction = "inactive" if transceiver.sender.track is None else "sendonly"

    async def _apply(self, step: Awaitable[T], code: str = "bad-sdp") -> T:
        try:
            return await step
        except InvalidStateError as error:
            raise EdgeError("bad-state", f"not possible now: {error}") from None
        except _AIORTC_ERRORS as error:
            raise EdgeError(code, f"not accepted: {error or type(error).__name__}") from None

    # Data channels.

    @property
    def on_message(self) -> Callable[[str, str], None] | None:
        """What is called with (label, text) for each message."""
        return self._channels.on_message

    @on_message.setter
    def on_message(self, callback: Callable[[str, str], None] | None) -> None:
        self._channels.on_message = callback

    def send(self, label: str, text: str) -> bool:
        """Send `text` on a channel; returns whether it was taken (see `Channels.send`): nothing is by a connection that
        was lost, though its channels may look open for a moment."""
        return self._state not in ("failed", "closed") and self._channels.send(label, text)

    # State and end.

    def _watch(self) -> None:
        if self._watchdog is None and self._state in ("new", "connecting"):
            loop = asyncio.get_running_loop()
            self._watchdog = loop.call_later(self._connect_timeout_s, self._on_connect_timeout)

    def _on_connect_timeout(self) -> None:
        if self._state in ("new", "connecting"):
            self._enter("failed")

    def _on_pc_state(self) -> None:
        self._enter(self._pc.connectionState)

    def _enter(self, state: str) -> None:
        if self._state in (state, "failed", "closed") or state == "new":
            return
        self._state = state
        if self._watchdog is not None and state != "connecting":
            self._watchdog.cancel()
        if self.on_state is not None:
            try:
                self.on_state(state)
            except Exception:
                logger.exception("on_state failed")

    async def close(self, timeout: float = 2.0) -> None:  # noqa: ASYNC109 the bound is the promise
        """End the connection; returns within `timeout` seconds whatever hangs. May be called again."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
            # Whoever waits for it may be cut off.
            self._closing.add_done_callback(lambda _: self._gone())
        await asyncio.wait({self._closing}, timeout=timeout)
        if not self._closing.done():
            logger.warning("a connection did not close within %g s and was cut", timeout)
            self._closing.cancel()
            self._pc.cut()
            self._gone()

    def _gone(self) -> None:
        _live.discard(self)
        self._enter("closed")

    async def _close(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
        try:
            _ended.add(self.statistics())
            self._counted = True
            for sender in self._pc.getSenders():
                if sender.track is not None:
                    sender.track.stop()
            await self._pc.close()
        except Exception:
            logger.exception("closing failed")
            self._pc.cut()
        finally:
            for track in (*self.videos.values(), self.audio_in):
                if track is not None:
                    track.stop()

    def statistics(self) -> ConnectionStatistics:
        """Return what the connection did so far."""
        tracks: list[VideoIn | AudioIn] = [*self.videos.values()]
        if self.audio_in is not None:
            tracks.append(self.audio_in)
        senders = [s for s in cast(list[Sender], self._pc.getSenders()) if s.carries is not None]
        return ConnectionStatistics(
            state=self._state,
            received=tuple(received_statistics(t) for t in tracks),
            sent=tuple(sent_statistics(s) for s in senders),
            malformed=self._pc.malformed,
        )


def live_connections() -> int:
    """Return how many connections are not closed yet."""
    return len(_live)


def all_traffic() -> Traffic:
    """Return what all connections of the process did so far."""
    return _ended.with_open(c.statistics() for c in list(_live) if not c._counted)


async def close_all(timeout: float = 2.0) -> None:  # noqa: ASYNC109 the bound is the promise
    """Close every connection of the process, so that it can end with calls open."""
    await asyncio.gather(*(connection.close(timeout) for connection in list(_live)))
