"""A participant's settings in a call: defaults from the service, changes from the wire, checked against the tables.

Pure. The tables come from the worker (policies, rungs), so the edge needs to know neither Whisper nor the ladder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from streamsvc.frames import Rig
from streamsvc.frames.backdrop import BackdropError, parse_backdrop
from streamsvc.frames.glossary import GlossaryError, parse_glossary
from streamsvc.frames.link import Ready
from streamsvc.frames.outputmode import ModeError, parse_mode
from streamsvc.frames.rig import MAX_SIDE
from streamsvc.frames.ring import SLOT_BYTES
from streamsvc.signalling.messages import AppearanceSettings, SignallingError, SpeechSettings, ViewSettings

AUTO = "auto"


class CallSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force for one participant: their voice, the picture that they see (`width` and `height` are those of
    one view of the output mode), and what others see behind them."""

    speech: bool
    policy: str
    parameters: dict[str, float]
    source: str
    target: str
    width: int
    height: int
    budget_ms: float
    glossary: list[str] = []
    voice: str = AUTO
    rung: str | None = None
    mode: str = "window"
    backdrop: str = "room"


def picture_size(settings: CallSettings) -> tuple[int, int]:
    """Return (width, height) of the picture that a viewer gets; raises ModeError."""
    return parse_mode(settings.mode).picture_size(settings.width, settings.height)


MAX_PICTURE = SLOT_BYTES // 3
"""Pixels of the largest picture that a view may become: two of 2048 x 2048."""


def changed(
    settings: CallSettings,
    speech: SpeechSettings,
    view: ViewSettings,
    appearance: AppearanceSettings,
    policies: Sequence[dict[str, Any]],
    rungs: Sequence[dict[str, Any]],
    voices: Sequence[str],
    backdrops: bool,
) -> CallSettings:
    """Return the settings with the changes applied.

    Changing the policy without parameters takes that policy's defaults. `backdrops` says whether the room behind the
    participant can be hidden. Raises SignallingError("bad-settings") that
    names what is accepted; nothing is changed then.
    """
    changes: dict[str, Any] = {}
    if speech.enabled is not None:
        changes["speech"] = speech.enabled
    for name in ("source", "target"):
        if (value := getattr(speech, name)) is not None:
            changes[name] = value
    if speech.glossary is not None:
        try:
            changes["glossary"] = list(parse_glossary(speech.glossary))
        except GlossaryError as e:
            raise SignallingError("bad-settings", str(e)) from None
    if speech.voice is not None:
        if speech.voice not in (AUTO, *voices):
            has = f"there are {', '.join((AUTO, *voices))}"
            if not voices:
                has = "this service speaks with one; to choose, start it with speech.voice = auto"
            raise SignallingError("bad-settings", f"no voice to choose is called {speech.voice!r}; {has}")
        changes["voice"] = speech.voice
    policy = settings.policy if speech.policy is None else speech.policy
    if speech.policy is not None or speech.parameters is not None:
        old = settings.parameters if policy == settings.policy else {}
        changes["policy"] = policy
        changes["parameters"] = {**old, **_checked(policy, speech.parameters or {}, policies)}
    for name in ("width", "height", "budget_ms"):
        if (value := getattr(view, name)) is not None:
            changes[name] = value
    if view.rung is not None:
        names = [str(r["name"]) for r in rungs]
        if view.rung not in ("", *names):
            raise SignallingError("bad-settings", f"no rung is called {view.rung!r}; there are {', '.join(names)}")
        changes["rung"] = view.rung or None
    if view.mode is not None:
        changes["mode"] = view.mode
    if appearance.backdrop is not None:
        changes["backdrop"] = _checked_backdrop(appearance.backdrop, backdrops)
    result = msgspec.structs.replace(settings, **changes)
    if {"mode", "width", "height"} & set(changes):
        _check_picture(result)
    return result


def described(settings: CallSettings) -> dict[str, Any]:
    """Return the settings for the wire."""
    s = settings
    return {
        "speech": {
            "enabled": s.speech,
            "policy": s.policy,
            "parameters": s.parameters,
            "source": s.source,
            "target": s.target,
            "glossary": s.glossary,
            "voice": s.voice,
        },
        "view": {"width": s.width, "height": s.height, "budget_ms": s.budget_ms, "rung": s.rung, "mode": s.mode},
        "appearance": {"backdrop": s.backdrop},
    }


def can_hide_room(ready: Ready | None, rig: Rig | None) -> bool:
    """Return whether the worker can tell from the room whoever stands before the cameras of `rig`."""
    return ready is not None and ready.backdrops and rig is not None and bool(rig.pairs)


def _checked_backdrop(backdrop: str, possible: bool) -> str:
    try:
        hides = parse_backdrop(backdrop).hides
    except BackdropError as e:
        raise SignallingError("bad-settings", str(e)) from None
    if hides and not possible:
        raise SignallingError(
            "bad-settings",
            "the room can't be hidden: that needs a rig with a pair of cameras, and the learned rungs on this service",
        )
    return backdrop


def _check_picture(settings: CallSettings) -> None:
    try:
        width, height = picture_size(settings)
    except ModeError as e:
        raise SignallingError("bad-settings", str(e)) from None
    if width * height > MAX_PICTURE or max(width, height) > MAX_SIDE:
        raise SignallingError(
            "bad-settings",
            f"{settings.mode} of {settings.width}x{settings.height} makes a picture of {width}x{height}; "
            f"at most {MAX_PICTURE} pixels and {MAX_SIDE} a side are possible: ask for a smaller view",
        )


def _checked(policy: str, parameters: dict[str, float], policies: Sequence[dict[str, Any]]) -> dict[str, float]:
    table = next((p for p in policies if p["name"] == policy), None)
    if table is None:
        names = ", ".join(str(p["name"]) for p in policies) or "none: this service does not translate"
        raise SignallingError("bad-settings", f"no policy is called {policy!r}; there are {names}")
    declared = {p["name"]: p for p in table["parameters"]}
    for name, value in parameters.items():
        if name not in declared:
            accepted = ", ".join(declared) or "no parameters"
            raise SignallingError("bad-settings", f"policy {policy} has no parameter {name!r}; it takes {accepted}")
        low, high = declared[name]["minimum"], declared[name]["maximum"]
        whole = declared[name]["integer"]
        if not low <= value <= high or (whole and value != int(value)):
            kind = "a whole number " if whole else ""
            raise SignallingError("bad-settings", f"{policy} {name} must be {kind}from {low} to {high}, got {value}")
    return parameters
