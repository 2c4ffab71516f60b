"""Which of a participant's tracks is which camera of their rig. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from streamsvc.frames import Rig
from streamsvc.signalling.messages import CameraTrack, SignallingError


def check_cameras(cameras: Sequence[CameraTrack], rig: Rig | None) -> None:
    """Return when an offer may name its tracks like this; raises SignallingError("bad-cameras")."""
    names = [c.name for c in cameras]
    if len(set(names)) != len(names) or len({c.mid for c in cameras}) != len(cameras):
        raise SignallingError("bad-cameras", "two entries of 'cameras' have one name or one mid")
    known = _names(rig)
    if rig is not None and (unknown := [n for n in names if n not in known]):
        raise SignallingError("bad-cameras", f"the rig has no camera {unknown[0]!r}; it has {', '.join(known)}")


def next_camera(rig: Rig | None, taken: Collection[str]) -> str:
    """Return the camera that a track without a name is: the first of the rig that isn't `taken`, or else a new one."""
    spare = [*_names(rig), *(f"cam{i}" for i in range(len(taken) + 1))]
    return next(n for n in spare if n not in taken)


def in_order(rig: Rig | None, cameras: Iterable[str]) -> tuple[str, ...]:
    """Return cameras in the order of the rig; those that it doesn't know come last."""
    order = _names(rig)
    return tuple(sorted(cameras, key=lambda n: (order.index(n) if n in order else len(order), n)))


def _names(rig: Rig | None) -> list[str]:
    return [] if rig is None else [c.name for c in rig.cameras]
