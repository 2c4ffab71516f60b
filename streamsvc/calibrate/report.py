"""What is said about a calibration: figures for machines, and a short table for people."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamsvc.calibrate.bundle import CAMERA, rms
from streamsvc.calibrate.layout import cameras_of, optical_angle, steepness
from streamsvc.calibrate.projection import INTRINSICS
from streamsvc.calibrate.solve import Calibration
from streamsvc.frames import Rig

MAX_BASELINES = 120


def figures(result: Calibration, rig: Rig) -> dict[str, Any]:
    """Return everything that `--json` holds; pixels, metres, degrees. `deviation` is one standard deviation; of a
    pose it is relative to the first camera."""
    state = result.state
    cameras = cameras_of(result)
    deviation = np.sqrt(np.stack([np.diagonal(c) for c in result.adjusted.covariance]))
    names = ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3")
    listed = []
    for c, camera in enumerate(cameras):
        seen = result.seen_by(c)
        listed.append(
            {
                "name": camera.name,
                "width": camera.width,
                "height": camera.height,
                "rms_px": round(result.rms_of(c), 4),
                "views": len(seen),
                "points": sum(len(o.pixels) for o in seen),
                "coverage": round(result.coverage(c), 3),
                "tilt_degrees": round(result.tilts[c], 1),
                "field_of_view_degrees": [
                    round(float(2 * np.degrees(np.arctan(side / (2 * camera.K[i, i])))), 2)
                    for i, side in enumerate((camera.width, camera.height))
                ],
                "intrinsics": {n: float(v) for n, v in zip(names, state.intrinsics[c], strict=True)},
                "deviation": {n: float(v) for n, v in zip(names, deviation[c, :INTRINSICS], strict=True)}
                | {
                    "rotation_degrees": float(np.degrees(np.linalg.norm(deviation[c, INTRINSICS : CAMERA - 3]))),
                    "position_m": float(np.linalg.norm(deviation[c, CAMERA - 3 :])),
                },
                "held_at_zero": [n for n, free in zip(names, result.estimated[c], strict=True) if not free],
            }
        )
    views: dict[str, dict[str, float]] = {}
    for o in result.observations:
        views.setdefault(result.views[o.view], {})[result.names[o.camera]] = round(rms(state.residuals(o)), 4)
    baselines = [
        {
            "cameras": [a.name, b.name],
            "length_m": round(float(np.linalg.norm(b.centre - a.centre)), 5),
            "angle_degrees": round(optical_angle(a, b), 3),
            "steepness_degrees": round(steepness(a, b), 2),
        }
        for i, a in enumerate(cameras)
        for b in cameras[i + 1 :]
    ]
    return {
        "board": str(result.board),
        "square_m": result.board.square,
        "rms_px": round(result.adjusted.rms, 4),
        "cameras": listed,
        "views": [{"name": name, "rms_px": errors} for name, errors in views.items()],
        "dropped": [
            {"camera": d.camera, "view": d.view, "rms_px": round(d.rms, 3), "why": d.why} for d in result.dropped
        ],
        "baselines": baselines[:MAX_BASELINES],
        "pairs": [list(p) for p in rig.pairs],
        "warnings": list(result.warnings),
    }


def render(found: dict[str, Any]) -> str:
    """Return the table for people."""
    lines = [f"{'camera':16} {'size':>11} {'focal':>9} {'RMS px':>7} {'views':>6} {'cover':>6}"]
    for c in found["cameras"]:
        size = f"{c['width']}x{c['height']}"
        focal = f"{c['intrinsics']['fx']:.1f}"
        lines.append(f"{c['name']:16} {size:>11} {focal:>9} {c['rms_px']:7.3f} {c['views']:6d} {c['coverage']:6.0%}")
    for b in found["baselines"]:
        a, z = b["cameras"]
        mark = "  pair" if [a, z] in found["pairs"] or [z, a] in found["pairs"] else ""
        lines.append(f"{a} - {z}: {b['length_m'] * 1000:.1f} mm apart, axes {b['angle_degrees']:.2f} degrees{mark}")
    lines += [f"left out: {d['camera']} in {d['view']} ({d['rms_px']:.2f} px): {d['why']}" for d in found["dropped"]]
    lines += [f"note: {w}" for w in found["warnings"]]
    lines.append(f"reprojection RMS {found['rms_px']:.3f} px over {len(found['views'])} views")
    return "\n".join(lines)
