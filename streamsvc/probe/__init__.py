"""A sceptic's measurement of a server: what a camera saw, when it was seen again, and where the time went.

The cameras see a clock card; what comes back is dated by the card in it, not by what travelled beside it.
"""

from streamsvc.probe.figures import Probed
from streamsvc.probe.options import ProbeError, ProbeOptions
from streamsvc.probe.post_offer import PostOfferError
from streamsvc.probe.run import run_probe

__all__ = ["PostOfferError", "ProbeError", "ProbeOptions", "Probed", "run_probe"]
