"""A participant without a browser: cameras and a microphone from files, devices or rendered scenes; what it sees and
hears can be saved."""

from streamsvc.peer.headless import HeadlessPeer, video_bytes_of
from streamsvc.peer.options import PeerFigures, PeerOptions, Way, Witness
from streamsvc.peer.sources import SourceError

__all__ = ["HeadlessPeer", "PeerFigures", "PeerOptions", "SourceError", "Way", "Witness", "video_bytes_of"]
