"""How a headless peer takes part in a call, what it tells of it, and who may listen in."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from streamsvc.edge import Received
from streamsvc.frames import Rig, Samples
from streamsvc.peer.sources import SceneTime, Voice
from streamsvc.signalling import channels
from streamsvc.signalling import messages as wire

KEPT = 10_000
"""So many captures, views, captions and notices, the latest, are kept where nobody asks for all: a peer may stay for
weeks."""


class Witness(Protocol):
    """Who takes note of a call, on the loop's thread; must only store or schedule. Times are ns on this host's
    monotonic clock, those of `frames` on the server's."""

    def captured(self, capture_ns: int) -> None:
        """The cameras saw something."""

    def picture(self, received: Received, shown_ns: int) -> None:
        """A view was decoded."""

    def sound(self, samples: Samples, heard_ns: int) -> None:
        """Sound arrived, (n,) float32 mono at 48 kHz; its first sample can be heard at `heard_ns`."""

    def caption(self, caption: channels.Caption, shown_ns: int) -> None:
        """Words were committed."""

    def frames(self, frames: Sequence[channels.FrameTrace]) -> None:
        """What became of frame sets, as the server tells it."""


class Way(Protocol):
    """What leads a call through something of its own, by what it puts into the descriptions (see `shaper`)."""

    async def offer(self, sdp: str) -> str:
        """Return the offer that the other side is sent."""

    async def answer(self, sdp: str) -> str:
        """Return the answer that this side takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerOptions:
    """How a headless peer takes part. `cameras` maps names to sources; `eye` is a path of `eyes.eye_at`; `mic` is a
    source or a voice; `scene_time` is that of `sources.SceneCameras`; `way` is None for the straight one. With `agrees`
    others may record the call; not `calibrated` it keeps its scene's rig to itself, like somebody with a webcam. With
    `relay_only` media go through the TURN server that the service offers, or not at all. `keep_all` is for calls that
    end: the figures then have everything that happened."""

    url: str
    room: str
    name: str = "peer"
    token: str | None = None
    mirror: bool = False
    rig: Rig | None = None
    cameras: dict[str, str] = field(default_factory=dict)
    mic: str | Voice | None = None
    size: tuple[int, int] = (320, 240)
    fps: float = 15.0
    eye: str = "still"
    speech: wire.SpeechSettings = field(default_factory=wire.SpeechSettings)
    view: wire.ViewSettings = field(default_factory=wire.ViewSettings)
    appearance: wire.AppearanceSettings = field(default_factory=wire.AppearanceSettings)
    save: Path | None = None
    insecure: bool = False
    scene_time: SceneTime | None = None
    witness: Witness | None = None
    way: Way | None = None
    agrees: bool = False
    calibrated: bool = True
    relay_only: bool = False
    keep_all: bool = False


@dataclass(frozen=True, slots=True)
class PeerFigures:
    """What the peer did and saw, in ns on the server's clock: `captures` are the instants at which its cameras saw
    something, `views` (capture, displayed) of what came back; the latest `KEPT` of each, or all. `captured`, `viewed`
    and `captioned` are how many there were."""

    captures: list[int]
    views: list[tuple[int, int]]
    captions: list[channels.Caption]
    clock_error_ns: int | None
    notices: list[str]
    captured: int
    viewed: int
    captioned: int


def tls_of(options: PeerOptions) -> ssl.SSLContext | None:
    """Return how the service's certificate is looked at, None for as usual."""
    if not options.insecure:
        return None
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
