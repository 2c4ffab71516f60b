"""Settings of a call: what the wire may change, checked against the worker's tables."""

import numpy as np
import pytest

from streamsvc.frames import Camera, Rig
from streamsvc.frames.link import Ready
from streamsvc.session.settings import CallSettings, can_hide_room, changed
from streamsvc.signalling.messages import AppearanceSettings, SignallingError, SpeechSettings, ViewSettings

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
    {
        "name": "agreement",
        "parameters": [
            {"name": "n", "default": 2, "minimum": 2, "maximum": 5, "meaning": "", "integer": True},
            {"name": "frame_width", "default": 1, "minimum": 0.25, "maximum": 5, "meaning": "", "integer": False},
        ],
    },
    {"name": "greedy", "parameters": []},
]
RUNGS = [{"name": "half"}, {"name": "full"}]
VOICES = ["joe", "af_bella"]


def change(speech: SpeechSettings = SpeechSettings(), view: ViewSettings = ViewSettings()) -> CallSettings:  # noqa: B008
    return changed(BASE, speech, view, AppearanceSettings(), POLICIES, RUNGS, VOICES, False)


def change_backdrop(backdrop: str, possible: bool) -> CallSettings:
    appearance = AppearanceSettings(backdrop=backdrop)
    return changed(BASE, SpeechSettings(), ViewSettings(), appearance, POLICIES, RUNGS, VOICES, possible)


def test_a_glossary_is_tidied_and_refused_by_its_term() -> None:
    terms = ["  Siobhan   Kowalczyk", "", "Drogheda", "Drogheda"]
    settings = change(speech=SpeechSettings(glossary=terms))
    assert settings.glossary == ["Siobhan Kowalczyk", "Drogheda"]
    assert changed(
        settings, SpeechSettings(source="es"), ViewSettings(), AppearanceSettings(), POLICIES, RUNGS, VOICES, False
    ).glossary
    for wrong, said in (
        (["a" * 61], "61|60 characters"),
        (["a,b"], "without commas"),
        (["a\u0000b"], "isn't accepted"),
        ([f"term{i}" for i in range(61)], "61 terms isn't accepted; at most 60"),
    ):
        with pytest.raises(SignallingError, match=said):
            change(speech=SpeechSettings(glossary=wrong))


def test_what_is_not_named_stays() -> None:
    assert change() == BASE
    assert change(view=ViewSettings(budget_ms=150)).budget_ms == 150
    assert change(speech=SpeechSettings(source="es")).source == "es"


def test_a_voice_is_one_of_those_there_are_or_the_matched_one() -> None:
    assert change().voice == "auto"
    assert change(speech=SpeechSettings(voice="af_bella")).voice == "af_bella"
    assert change(speech=SpeechSettings(voice="auto")).voice == "auto"
    with pytest.raises(SignallingError, match="'am_nobody'; there are auto, joe, af_bella"):
        change(speech=SpeechSettings(voice="am_nobody"))


def test_another_policy_takes_its_own_defaults() -> None:
    assert change(SpeechSettings(policy="greedy")).parameters == {}
    assert change(SpeechSettings(parameters={"n": 3})).parameters == {"n": 3}
    assert change(SpeechSettings(parameters={"n": 3.0, "frame_width": 0.5})).parameters == {"n": 3, "frame_width": 0.5}


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
        (SpeechSettings(parameters={"n": 2.5}), ViewSettings(), "n must be a whole number from 2 to 5, got 2.5"),
        (SpeechSettings(), ViewSettings(rung="8k"), "there are half, full"),
        (SpeechSettings(), ViewSettings(mode="hologram"), "there are window, stereo, anaglyph, packed, cutout, quilt"),
        (SpeechSettings(), ViewSettings(mode="quilt:99x99"), "1 to 16 columns"),
        (SpeechSettings(), ViewSettings(mode="quilt:4x2:170"), "at most 120 degrees"),
        (SpeechSettings(), ViewSettings(mode="quilt:8x8"), "makes a picture of 5120x3840"),
    ],
)
def test_what_is_not_accepted_is_refused_with_what_is(speech: SpeechSettings, view: ViewSettings, message: str) -> None:
    with pytest.raises(SignallingError, match=message) as caught:
        change(speech, view)
    assert caught.value.code == "bad-settings"


def test_a_backdrop_is_taken_where_the_person_can_be_told_from_the_room() -> None:
    assert BASE.backdrop == "room"
    assert change_backdrop("#10a0FF", possible=True).backdrop == "#10a0FF"
    assert change_backdrop("blur", possible=True).backdrop == "blur"
    assert change_backdrop("room", possible=False) == BASE


@pytest.mark.parametrize(
    ("backdrop", "possible", "message"),
    [
        ("blur", False, "needs a rig with a pair of cameras, and the learned rungs"),
        ("beach", True, "there are room, blur or #rrggbb"),
        ("transparent", True, "there are room, blur or #rrggbb"),
        ("/etc/passwd", True, "there are room, blur or #rrggbb"),
    ],
)
def test_a_backdrop_that_cannot_be_kept_is_refused(backdrop: str, possible: bool, message: str) -> None:
    with pytest.raises(SignallingError, match=message) as caught:
        change_backdrop(backdrop, possible)
    assert caught.value.code == "bad-settings"


def test_the_room_can_be_hidden_with_the_learned_rungs_and_a_pair() -> None:
    cameras = tuple(
        Camera(n, 64, 48, np.diag([60.0, 60.0, 1.0]), np.zeros(5), np.eye(3), np.array([x, 0.0, 0.0]))
        for n, x in (("a", 0.1), ("b", -0.1))
    )
    pair = Rig(cameras, (("a", "b"),))
    ready = Ready(device="cpu", rungs=[], policies=[], notes=[], backdrops=True)
    assert can_hide_room(ready, pair)
    assert not can_hide_room(ready, Rig(cameras[:1], ()))
    assert not can_hide_room(ready, None)
    assert not can_hide_room(None, pair)
    assert not can_hide_room(Ready(device="cpu", rungs=[], policies=[], notes=[]), pair)


def test_a_service_with_one_voice_says_how_voices_can_be_chosen() -> None:
    named = SpeechSettings(voice="foo")
    with pytest.raises(SignallingError, match="there are auto, joe, af_bella"):
        change(named)
    with pytest.raises(SignallingError, match=r"speaks with one; .*speech\.voice = auto"):
        changed(BASE, named, ViewSettings(), AppearanceSettings(), POLICIES, RUNGS, [], False)
