"""People and rooms rendered into calibrated cameras, for peer, probe, demo and tests.

scene = open_scene("body:identity=2,seed=5")
rig = scene.rig(2, 320, 240)
picture = scene.render(rig.cameras[0], t=1.5)
"""

from __future__ import annotations

from streamsvc.scene.assets import asset
from streamsvc.scene.base import Rendering, Scene, SceneError
from streamsvc.scene.rigs import between

__all__ = ["Rendering", "Scene", "SceneError", "asset", "between", "open_scene"]


def open_scene(spec: str) -> Scene:
    """Open the scene `spec`: "body", "body:SEED", "body:identity=I,seed=S", "motorcycle", "card" or "card:BODY".

    The first scene of a process compiles or loads its kernels (seconds); then opening a body takes about a second.
    Raises SceneError that lists what exists, or says which asset is missing.
    """
    name, colon, options = spec.partition(":")
    if name == "body" and not (colon and not options):
        from streamsvc.scene.people import open_body

        return open_body(options)
    if name == "motorcycle" and not colon:
        from streamsvc.scene.photo import Motorcycle

        return Motorcycle()
    if name == "card" and not (colon and not options):
        from streamsvc.scene.card import ClockCard

        return ClockCard(open_scene(options or "body"))
    raise SceneError(
        f"there is no scene {spec!r}; there are body, body:SEED, body:identity=I,seed=S (a rendered person), "
        "motorcycle (a photographed stereo pair), and card or card:BODY (a person who holds up a clock card)"
    )
