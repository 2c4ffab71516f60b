"""The media sections of a call, as transceivers of ours: which of our tracks goes out on which, and with which codec.

The functions take what `RTCPeerConnection.getTransceivers` returns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aiortc import RTCRtpSender
from aiortc.rtcrtptransceiver import RTCRtpTransceiver
from aiortc.sdp import MediaDescription, SessionDescription

from streamsvc.edge.extensions import agreed_extras
from streamsvc.edge.send import AudioOut, VideoOut


def sending(transceivers: Sequence[RTCRtpTransceiver], kind: str) -> list[RTCRtpTransceiver]:
    """Return those of a kind ("video", "audio") on which we send."""
    return [t for t in transceivers if t.kind == kind and t.sender.track is not None]


def agree_extensions(transceivers: Sequence[RTCRtpTransceiver], sdp: str) -> None:
    """Agree on our own header extensions for video where the other side's description `sdp` has them, too."""
    for transceiver, media in _answered(transceivers, sdp):
        if transceiver.kind == "video":
            known = {extension.uri for extension in transceiver._headerExtensions}
            extras = agreed_extras(media.rtp.headerExtensions)
            transceiver._headerExtensions += [extra for extra in extras if extra.uri not in known]


def attach(transceivers: Sequence[RTCRtpTransceiver], track: VideoOut | AudioOut) -> None:
    """Send `track` on the first section of its kind that the other side is willing to receive, unless it is sent."""
    ours = [t for t in transceivers if t.kind == track.kind]
    if any(t.sender.track is track for t in ours):
        return
    for transceiver in ours:
        # _offerDirection is seen from our side: "send" in it means that they want to receive.
        if "send" in (transceiver._offerDirection or "") and transceiver.sender.track is None:
            transceiver.sender.replaceTrack(track)
            transceiver.direction = "sendrecv"
            prefer(transceiver, track, agreed=True)
            return


def prefer(transceiver: RTCRtpTransceiver, track: VideoOut | AudioOut | None, *, agreed: bool = False) -> None:
    """Put the track's codec first (VP8 without one); the other stays available."""
    if transceiver.kind != "video":
        return
    first = f"video/{track.codec if isinstance(track, VideoOut) else 'VP8'}"
    codecs = RTCRtpSender.getCapabilities("video").codecs
    transceiver.setCodecPreferences(sorted(codecs, key=lambda c: c.mimeType != first))
    if agreed:
        rank = {c.payloadType: (c.mimeType != first, i) for i, c in enumerate(transceiver._codecs)}
        bases = sorted((c for c in transceiver._codecs if c.name != "rtx"), key=lambda c: rank[c.payloadType])
        transceiver._codecs = [*bases, *(c for c in transceiver._codecs if c.name == "rtx")]


def _answered(
    transceivers: Sequence[RTCRtpTransceiver], sdp: str
) -> Iterator[tuple[RTCRtpTransceiver, MediaDescription]]:
    """Yield our transceivers with the sections of the other side's description that they answer."""
    media = {m.rtp.muxId: m for m in SessionDescription.parse(sdp).media}
    for transceiver in transceivers:
        if transceiver.mid in media:
            yield transceiver, media[transceiver.mid]
