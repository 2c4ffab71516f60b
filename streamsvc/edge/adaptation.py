"""What we rely on inside aiortc and its aioice, in one list, checked loudly before the first connection.

The layer subclasses aiortc's classes and touches some of their private attributes (name-mangled, hence the
spelling). Nothing global is replaced and nothing is forked: a subclassed peer connection makes our senders, receivers
and transports, for its own connection only. When a new aiortc drops one of the attributes, `require_aiortc` says which
one, instead of a call that quietly has no picture.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import metadata
from types import SimpleNamespace
from typing import Any

from aioice import Connection as IceConnection
from aiortc.rtcconfiguration import RTCConfiguration
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsTransport, RtpRouter
from aiortc.rtcpeerconnection import RTCPeerConnection
from aiortc.rtcrtpreceiver import RTCRtpReceiver
from aiortc.rtcrtpsender import RTCRtpSender
from aiortc.rtcrtptransceiver import RTCRtpTransceiver

from streamsvc.edge.errors import EdgeError

MINIMUM = (1, 16)

CLASS_ATTRIBUTES: dict[type, tuple[str, ...]] = {
    RTCPeerConnection: (
        "_RTCPeerConnection__createTransceiver",
        "_RTCPeerConnection__createDtlsTransport",
        "_RTCPeerConnection__connect",
    ),
    RTCRtpReceiver: (
        "_handle_rtp_packet",
        "_handle_rtcp_packet",
        "_send_rtcp_nack",
        "_send_rtcp_pli",
        "_RTCRtpReceiver__stop_decoder",
    ),
    RTCRtpSender: ("_retransmit", "_run_rtp", "_run_rtcp", "_send_rtcp", "_handle_rtcp_packet"),
    RTCDtlsTransport: ("_handle_rtp_data", "_handle_rtcp_data", "_recv_next", "_send_rtp"),
    RTCCertificate: ("_create_ssl_context",),
    IceConnection: ("build_request", "data_received", "query_consent"),
    RtpRouter: ("route_rtp",),
}

INSTANCE_ATTRIBUTES: dict[type, set[str]] = {
    RTCRtpReceiver: {"_track"},
    RTCRtpSender: {"_ssrc", "_stream_id", "_enabled"},
    RTCRtpTransceiver: {
        "_RTCRtpTransceiver__sender",
        "_RTCRtpTransceiver__receiver",
        "_bundled",
        "_codecs",
        "_offerDirection",
    },
    RtpRouter: {"mid_table", "senders", "ssrc_table", "payload_type_table"},
    IceConnection: {"_closed", "_nominated", "_protocols", "_query_consent_task", "_queue"},
}


class Private:
    """A private attribute of an aiortc class, under a name of ours in a subclass; declaring it also adds it to what
    `require_aiortc` checks."""

    def __init__(self, owner: type, name: str) -> None:
        self._name = f"_{owner.__name__}__{name}"
        INSTANCE_ATTRIBUTES.setdefault(owner, set()).add(self._name)

    def __get__(self, instance: Any, owner: type) -> Any:
        return getattr(instance, self._name)

    def __set__(self, instance: Any, value: Any) -> None:
        setattr(instance, self._name, value)


def missing_attributes(samples: dict[type, Any]) -> list[str]:
    """Return what of the two lists is absent, given one instance of each class of `INSTANCE_ATTRIBUTES`."""
    absent = [f"{c.__name__}.{n}" for c, names in CLASS_ATTRIBUTES.items() for n in names if not hasattr(c, n)]
    for kind, names in INSTANCE_ATTRIBUTES.items():
        absent += [f"{kind.__name__}().{n}" for n in sorted(names) if not hasattr(samples[kind], n)]
    return absent


def check_version(version: str) -> None:
    """Raise EdgeError("unsupported-aiortc") when `version` is older than 1.16."""
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    if numbers < MINIMUM:
        raise EdgeError("unsupported-aiortc", f"aiortc {version} is too old; 1.16 or newer is needed")


@cache
def require_aiortc() -> None:
    """Check the version and every attribute that the layer touches; needs a running event loop.

    Raises EdgeError("unsupported-aiortc") that names what is missing.
    """
    version = metadata.version("aiortc")
    check_version(version)
    transport: Any = SimpleNamespace(state="new")
    sender, receiver = RTCRtpSender("video", transport), RTCRtpReceiver("video", transport)
    samples = {
        RTCRtpSender: sender,
        RTCRtpReceiver: receiver,
        RTCRtpTransceiver: RTCRtpTransceiver(kind="video", sender=sender, receiver=receiver),
        RtpRouter: RtpRouter(),
        IceConnection: IceConnection(ice_controlling=True),
        RTCPeerConnection: RTCPeerConnection(RTCConfiguration(iceServers=[])),
    }
    absent = missing_attributes(samples)
    if absent:
        raise EdgeError(
            "unsupported-aiortc", f"aiortc {version} has changed inside; the layer over it needs {', '.join(absent)}"
        )
