"""SDP before and after aiortc: what comes in is checked first, what goes out carries the bitrate floor.

aiortc's parser lets five exception types out (AssertionError, ValueError, KeyError, AttributeError, StopIteration) and
starts opening sockets before it is done; nothing reaches it that has not passed `check_description`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from aiortc.rtcicetransport import RTCIceCandidate
from aiortc.sdp import DIRECTIONS, MediaDescription, SessionDescription, candidate_from_sdp

from streamsvc.edge.errors import EdgeError

PARSER_ERRORS = (
    AssertionError,
    ValueError,
    KeyError,
    AttributeError,
    StopIteration,
    IndexError,
    TypeError,
    RuntimeError,
)
_SECTIONS = ("audio", "video", "application")


@dataclass(frozen=True, slots=True)
class SdpLimits:
    """The most that a description may hold: bytes, lines, media sections of each kind, candidates (and as many that are
    trickled), and in one section codecs and a=ssrc lines, for which aiortc's parser takes quadratic time on the event
    loop."""

    size: int = 200_000
    lines: int = 4000
    video: int = 8
    audio: int = 2
    application: int = 1
    candidates: int = 256
    codecs: int = 64
    ssrc_lines: int = 128


def check_description(text: str, limits: SdpLimits) -> str:
    """Return `text` ready for aiortc, or raise EdgeError (too-large, bad-sdp) that says what is wrong and accepted."""
    if not isinstance(text, str):
        raise EdgeError("bad-sdp", "the description must be text")
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > limits.size:
        raise EdgeError("too-large", f"the description has {size} bytes; at most {limits.size} are accepted")
    # The lines that aiortc will see: it also takes other characters than CR and LF for their ends.
    lines = text.splitlines()
    if not text.startswith("v=0"):
        raise EdgeError("bad-sdp", "the description is not SDP: it must start with v=0")
    kinds = [line[2:].split(" ", 1)[0] for line in lines if line.startswith("m=")]
    if not kinds:
        raise EdgeError("bad-sdp", "the description has no media section")
    for kind in kinds:
        if kind not in _SECTIONS:
            raise EdgeError(
                "bad-sdp", f"a media section of kind {kind[:20]!r} is not accepted; {', '.join(_SECTIONS)} are"
            )
    for kind in _SECTIONS:
        most = int(getattr(limits, kind))
        if kinds.count(kind) > most:
            raise EdgeError("bad-sdp", f"{kinds.count(kind)} {kind} sections; at most {most} are accepted")
    _check_crowd(lines, limits)
    text = "\r\n".join(_with_directions([line for line in lines if line])) + "\r\n"
    try:
        description = SessionDescription.parse(text)
    except PARSER_ERRORS as error:
        raise EdgeError("bad-sdp", f"the description is not valid SDP ({error or type(error).__name__})") from None
    mids = [media.rtp.muxId for media in description.media]
    if not all(mids) or len(set(mids)) != len(mids):
        raise EdgeError("bad-sdp", "every media section needs a mid of its own (a=mid)")
    for media in description.media:
        _check_section(media)
    for group in description.group:
        if group.semantic == "BUNDLE" and not set(group.items) <= set(mids):
            raise EdgeError("bad-sdp", "the BUNDLE group names a section that is not there")
    return text


def _check_crowd(lines: list[str], limits: SdpLimits) -> None:
    if len(lines) > limits.lines:
        raise EdgeError("too-large", f"the description has {len(lines)} lines; at most {limits.lines} are accepted")
    candidates = sum(line.startswith("a=candidate:") for line in lines)
    if candidates > limits.candidates:
        raise EdgeError("bad-sdp", f"{candidates} candidates; at most {limits.candidates} are accepted")
    for prefix, most in (("a=rtpmap:", limits.codecs), ("a=ssrc:", limits.ssrc_lines)):
        count = 0
        for line in lines:
            count = 0 if line.startswith("m=") else count + line.startswith(prefix)
            if count > most:
                raise EdgeError("bad-sdp", f"a section has more than {most} {prefix[:-1]} lines; no more are accepted")


def _check_section(media: MediaDescription) -> None:
    where = f"the {media.kind} section {str(media.rtp.muxId)[:16]!r}"
    if not all(map(_has_port, media.ice_candidates)):
        raise EdgeError("bad-sdp", f"{where} has a candidate whose port is not one of 0 to 65535")
    if media.dtls is None or not media.dtls.fingerprints:
        raise EdgeError("bad-sdp", f"{where} has no DTLS fingerprint (a=fingerprint with a=setup)")
    if media.ice is None or not media.ice.usernameFragment or not media.ice.password:
        raise EdgeError("bad-sdp", f"{where} has no ICE credentials (a=ice-ufrag and a=ice-pwd)")
    if media.kind == "application":
        if media.profile == "DTLS/SCTP" or media.sctp_port is None or media.sctpCapabilities is None:
            raise EdgeError("bad-sdp", f"{where} is no WebRTC data channel (a=sctp-port and a=max-message-size)")
        return
    if not media.rtcp_mux:
        raise EdgeError("bad-sdp", f"{where} does not multiplex RTCP (a=rtcp-mux)")
    if not media.rtp.codecs:
        raise EdgeError("bad-sdp", f"{where} offers no codec (a=rtpmap)")


def _with_directions(lines: list[str]) -> list[str]:
    """Say the default direction, that of the session or else sendrecv (RFC 8866 section 6.7), where a section leaves
    it out; aiortc needs one."""
    out: list[str] = []
    section: list[str] = []
    default = "sendrecv"

    def flush() -> None:
        nonlocal default
        said = [line[2:] for line in section if line.startswith("a=") and line[2:] in DIRECTIONS]
        if section and section[0].startswith("m="):
            section.extend([] if said else [f"a={default}"])
        elif said:
            default = said[-1]
        out.extend(section)
        section.clear()

    for line in lines:
        if line.startswith("m="):
            flush()
        section.append(line)
    flush()
    return out


def sending(text: str) -> Counter[str]:
    """Return on how many sections of each kind ("audio", "video") a description that was checked sends."""
    media = SessionDescription.parse(text).media
    return Counter(m.kind for m in media if m.kind != "application" and m.direction in ("sendrecv", "sendonly"))


def parse_candidate(text: str, mid: str | None) -> RTCIceCandidate:
    """Return a trickled candidate; raises EdgeError("bad-candidate")."""
    try:
        candidate = candidate_from_sdp(text.strip().removeprefix("a=").removeprefix("candidate:"))
    except PARSER_ERRORS:
        raise EdgeError(
            "bad-candidate", "the candidate is not valid; RFC 8839's candidate attribute is accepted"
        ) from None
    if not _has_port(candidate):
        raise EdgeError("bad-candidate", "the candidate's port is not one of 0 to 65535")
    candidate.sdpMid = mid
    return candidate


def _has_port(candidate: RTCIceCandidate) -> bool:
    # Others would come out of the socket, in a task of the ICE library that nobody waits for.
    related = candidate.relatedPort
    return 0 <= candidate.port <= 65535 and (related is None or 0 <= related <= 65535)


@dataclass(frozen=True, slots=True)
class BitrateFloor:
    """kb/s for each camera of a browser. Every receiver's estimate (REMB) is applied by the browser to the whole
    connection, so that two cameras starve each other down to 30 kb/s, and one that shows a still picture starves
    itself; the floor keeps them alive."""

    minimum: int = 400
    start: int = 1000


def with_bitrate_floor(answer: str, floor: BitrateFloor) -> str:
    """Return the answer with x-google-min-bitrate and x-google-start-bitrate for each video codec of each section that
    we receive. Other clients ignore the unknown parameters (RFC 8866 section 6.15)."""
    sections = answer.split("\r\nm=")
    received = [s for s in sections[1:] if s.startswith("video ") and ("\r\na=recvonly" in s or "\r\na=sendrecv" in s)]
    cameras = max(len(received), 1)
    parameters = f"x-google-min-bitrate={floor.minimum * cameras};x-google-start-bitrate={floor.start * cameras}"
    return "\r\nm=".join(_floor_section(s, parameters) if s in received else s for s in sections)


def _floor_section(section: str, parameters: str) -> str:
    lines = section.split("\r\n")
    codecs = [line[len("a=rtpmap:") :].split(" ", 1) for line in lines if line.startswith("a=rtpmap:")]
    for payload, name in codecs:
        if not name.upper().startswith(("VP8/", "H264/")):
            continue
        prefix = f"a=fmtp:{payload} "
        at = next((i for i, line in enumerate(lines) if line.startswith(prefix)), None)
        if at is not None:
            lines[at] += f";{parameters}"
        else:
            at = next(i for i, line in enumerate(lines) if line.startswith(f"a=rtpmap:{payload} "))
            lines.insert(at + 1, prefix + parameters)
    return "\r\n".join(lines)
