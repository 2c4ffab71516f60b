"""Compile the kernels before anyone waits for a view: seconds the first time on a machine, then read from the cache."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from streamsvc.budget.slices import run_to_end
from streamsvc.frames import Camera, Frame, FrameSet, Rig, Viewpoint
from streamsvc.frames.backdrop import Backdrop
from streamsvc.view.rungs import LEVELS
from streamsvc.view.synth import ViewSynthesizer

if TYPE_CHECKING:
    from streamsvc.view.net.geometry import NetGeometry

_WIDTH, _HEIGHT = 96, 72
_FRAME_NS = 33_333_333
_ASIDE = Viewpoint(0, ((3.0, 0.0, 0.0),))
"""An eye that sees beyond what the cameras saw: fading that out takes a kernel too."""


def warm_up(net: NetGeometry | None = None, device: str = "cpu") -> float:
    """Make one small view on the best classical rung and on each of the net's on `device`, if there is one, one of them
    before a backdrop, and return the seconds it took; call it before the first deadline."""
    started = time.perf_counter()
    K = np.array([[100.0, 0, (_WIDTH - 1) / 2], [0, 100.0, (_HEIGHT - 1) / 2], [0, 0, 1]])
    cameras = tuple(
        Camera(name, _WIDTH, _HEIGHT, K, np.zeros(5), np.eye(3), np.array([x, 0.0, 0.0]))
        for name, x in (("left", 0.1), ("right", -0.1))
    )
    rig = Rig(cameras, (("left", "right"),), (0.6, 2.0))
    noise = np.random.default_rng(0).integers(0, 256, (_HEIGHT, _WIDTH, 3), np.uint8)
    # The same noise 20 columns apart is a wall a metre away: something to match, to fill and to blend.
    moved = np.ascontiguousarray(np.roll(noise, -20, 1))
    synthesizer = ViewSynthesizer(rig, _WIDTH, _HEIGHT, device=device, net=net)
    # Twice on the first rung: sensor noise is told from the second picture on.
    names = [*[LEVELS[-1].name] * 2, *(r.name for r in synthesizer.rungs if r.name.startswith("net-"))]
    for number, name in enumerate(names):
        at = number * _FRAME_NS
        frames = FrameSet("warm-up", number, at, at, (Frame("left", noise, at), Frame("right", moved, at)))
        run_to_end(synthesizer.slices(frames, synthesizer.view_camera(_ASIDE), name))
    if net is not None:
        hidden = ViewSynthesizer(rig, _WIDTH, _HEIGHT, device=device, net=net, backdrop=Backdrop("blur"))
        run_to_end(hidden.slices(frames, hidden.view_camera(None), hidden.rungs[0].name))
    return time.perf_counter() - started
