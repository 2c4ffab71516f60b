"""A network between two ends of a call, made of rules: for measuring what loss, delay and narrow links do to it."""

from streamsvc.shaper.link import Link, Rules
from streamsvc.shaper.network import NETWORKS, Network, ShaperError, parse_network
from streamsvc.shaper.relay import Counts, Shaper

__all__ = ["NETWORKS", "Counts", "Link", "Network", "Rules", "Shaper", "ShaperError", "parse_network"]
