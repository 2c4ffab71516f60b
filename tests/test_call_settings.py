"""Settings of a call: what the wire may change, checked against the worker's tables."""

import pytest

from streamsvc.session.settings import CallSettings, changed
from streamsvc.signalling.messages import SignallingError, SpeechSettings, ViewSettings

BASE = CallSettings(
    speech=True,
    policy="agreement",
    parameters={"n": 2},
    source="auto",
    target="en",
    width=640,
    height=480,
    budget_ms=400,
)
POLICIES = [
    {"name": "agreement", "parameters": [{"name": "n", "default": 2, "minimum": 2, "maximum": 5, "meaning": ""}]},
    {"name": "greedy", "parameters": []},
]
RUNGS = [{"name": "half"}, {"name": "full"}]


def change(speech: SpeechSettings = SpeechSettings(), view: ViewSettings = ViewSettings()) -> CallSettings:  # noqa: B008
    return changed(BASE, speech, view, POLICIES, RUNGS)


def test_what_is_not_named_stays() -> None:
    assert change() == BASE
    assert change(view=ViewSettings(budget_ms=150)).budget_ms == 150
    assert change(speech=SpeechSettings(source="es")).source == "es"


def test_another_policy_takes_its_own_defaults() -> None:
    assert change(SpeechSettings(policy="greedy")).parameters == {}
    assert change(SpeechSettings(parameters={"n": 3})).parameters == {"n": 3}


def test_a_rung_can_be_capped_and_freed() -> None:
    assert change(view=ViewSettings(rung="half")).rung == "half"
    assert change(view=ViewSettings(rung="")).rung is None


def test_an_output_mode_is_taken_with_its_quilt() -> None:
    assert change(view=ViewSettings(mode="stereo")).mode == "stereo"
    assert change(view=ViewSettings(mode="quilt:8x6:40", width=320, height=240)).mode == "quilt:8x6:40"


@pytest.mark.parametrize(
    ("speech", "view", "message"),
    [
        (SpeechSettings(policy="psychic"), ViewSettings(), "there are agreement, greedy"),
        (SpeechSettings(parameters={"k": 1}), ViewSettings(), "it takes n"),
        (SpeechSettings(parameters={"n": 9}), ViewSettings(), "from 2 to 5"),
        (SpeechSettings(), ViewSettings(rung="8k"), "there are half, full"),
        (SpeechSettings(), ViewSettings(mode="hologram"), "there are window, stereo, anaglyph, packed, quilt"),
        (SpeechSettings(), ViewSettings(mode="quilt:99x99"), "1 to 16 columns"),
        (SpeechSettings(), ViewSettings(mode="quilt:4x2:170"), "at most 120 degrees"),
        (SpeechSettings(), ViewSettings(mode="quilt:8x8"), "makes a picture of 5120x3840"),
    ],
)
def test_what_is_not_accepted_is_refused_with_what_is(speech: SpeechSettings, view: ViewSettings, message: str) -> None:
    with pytest.raises(SignallingError, match=message) as caught:
        change(speech, view)
    assert caught.value.code == "bad-settings"
