"""What a probe can be asked for, and what can't be measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from streamsvc.errors import StreamsvcError
from streamsvc.probe.measure import SETTLE_NS
from streamsvc.probe.post_offer import takes_post
from streamsvc.shaper import Network


class ProbeError(StreamsvcError):
    """A probe that can't be made, or that saw nothing at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOptions:
    """What to probe; with `browser` our page in headless Chromium is the participant. `speech` is the language that the
    microphone hears (None: chirps, untranslated, and in Chromium silence); `role` is both, send or watch; `budget_ms`
    from capture to display; `warm_up_s` of the `seconds` are discarded; the call is led through `network` (None:
    straight), or with `relay` through the TURN server that the service offers and nothing else."""

    url: str
    out: Path
    room: str = "probe"
    token: str | None = None
    seconds: float = 30.0
    warm_up_s: float = 5.0
    cameras: int = 2
    size: tuple[int, int] = (320, 240)
    fps: float = 15.0
    budget_ms: float = 400.0
    speech: str | None = None
    policy: str | None = None
    parameters: dict[str, float] = field(default_factory=dict)
    role: str = "both"
    eye: str = "still"
    insecure: bool = False
    browser: bool = False
    network: Network | None = None
    relay: bool = False


def check(options: ProbeOptions) -> None:
    """Raise ProbeError for what can't be measured."""
    least = options.warm_up_s + max(SETTLE_NS / 1e9, options.budget_ms / 1e3) + 2
    if options.seconds < least:
        raise ProbeError(
            f"{options.seconds:g} s are too short: {options.warm_up_s:g} s of warm-up are discarded, and the last "
            f"pictures need time to come back; measure at least {least:g} s"
        )
    if options.role not in ("both", "send", "watch"):
        raise ProbeError(f"the role is both, send or watch, not {options.role!r}")
    if takes_post(options.url) and options.role != "both":
        raise ProbeError(f"{options.url} is not one of our services: it is probed from one process (--role both)")
    if options.browser and takes_post(options.url):
        raise ProbeError(
            f"{options.url} is not one of our services, and has no page that we know (leave out --browser)"
        )
    if options.relay and (options.browser or options.network is not None or takes_post(options.url)):
        raise ProbeError(
            "--relay uses the TURN server that a service of ours offers to our own peer (leave out --browser and "
            "--network; servers that take an offer by POST offer none)"
        )
    if options.browser and options.network is not None:
        raise ProbeError("Chromium's call can't be led through a network of rules (leave out --network or --browser)")
    if options.browser and (options.role != "both" or options.eye != "still" or options.policy or options.parameters):
        raise ProbeError(
            "Chromium is both sender and viewer, its eye rests, and the policy is the page's (leave out --role, --eye, "
            "--policy and --set)"
        )


def sees_one(options: ProbeOptions) -> bool:
    """Is there one camera, whose pictures pass through?"""
    return takes_post(options.url) or options.cameras == 1
