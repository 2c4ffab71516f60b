"""WebRTC: our layer over aiortc, and the only place that imports it. Connections, tracks, frame sets."""

from streamsvc.edge.channels import ChannelSpec
from streamsvc.edge.codecs import EncodedPicture
from streamsvc.edge.connection import Connection, IceServer, all_traffic, close_all, live_connections
from streamsvc.edge.errors import EdgeError
from streamsvc.edge.framesets import FrameSets
from streamsvc.edge.hardware import Hardware
from streamsvc.edge.mailbox import Mailbox, MailboxStatistics
from streamsvc.edge.profiles import Profile, profile_for
from streamsvc.edge.receive import AudioIn, Received, VideoIn, to_rgb
from streamsvc.edge.rtpclock import capture_ns_of, rtp_timestamp_of, wall_offset_ns
from streamsvc.edge.sdp import BitrateFloor, SdpLimits
from streamsvc.edge.send import AudioOut, VideoOut
from streamsvc.edge.statistics import ConnectionStatistics, ReceivedStatistics, SentStatistics

__all__ = [
    "AudioIn",
    "AudioOut",
    "BitrateFloor",
    "ChannelSpec",
    "Connection",
    "ConnectionStatistics",
    "EdgeError",
    "EncodedPicture",
    "FrameSets",
    "Hardware",
    "IceServer",
    "Mailbox",
    "MailboxStatistics",
    "Profile",
    "Received",
    "ReceivedStatistics",
    "SdpLimits",
    "SentStatistics",
    "VideoIn",
    "VideoOut",
    "all_traffic",
    "capture_ns_of",
    "close_all",
    "live_connections",
    "profile_for",
    "rtp_timestamp_of",
    "to_rgb",
    "wall_offset_ns",
]
