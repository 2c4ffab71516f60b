"""Speak policies: prefixes only, state over uncommitted units, parameters checked and described."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.speech.errors import PolicyError
from streamsvc.speech.policies import DEFAULT_POLICY, POLICIES, PRESETS, Unit, Units, describe, resolve


def units(
    *texts: str, probability: float | None = 0.9, no_speech: float = 0.1, frames_left: float | None = 50
) -> Units:
    return tuple(Unit(t, probability, no_speech, frames_left) for t in texts)


def run(name: str, passes: list[Units], **parameters: float) -> list[str]:
    """Feed passes of the uncommitted rest, as an interpreter would; return what each one commits."""
    values, state, said = resolve(name, parameters), (), []
    for seen in passes:
        count, state = POLICIES[name].decide(state, seen, values)
        said.append(" ".join(u.text for u in seen[:count]))
    return said


def test_greedy_says_everything() -> None:
    assert run("greedy", [units("a", "b")]) == ["a b"]


def test_offline_says_nothing_before_the_phrase_is_over() -> None:
    assert run("offline", [units("a", "b"), units("a", "b")]) == ["", ""]


def test_confidence_stops_at_the_first_word_below_the_threshold() -> None:
    seen = units("a") + units("b", probability=0.5) + units("c")
    assert run("confidence", [seen], threshold=0.7) == ["a"]


def test_confidence_by_segments_asks_the_no_speech_probability() -> None:
    seen = units("a", "b", no_speech=0.2)
    assert run("confidence", [seen], segments=1, threshold=0.7) == ["a b"]
    assert run("confidence", [seen], segments=1, threshold=0.9) == [""]


def test_confidence_refuses_words_that_were_not_aligned() -> None:
    assert run("confidence", [units("a", probability=None)], threshold=0.0) == [""]


def test_consensus_wants_the_same_unit_at_the_same_place_and_none_on_a_first_pass() -> None:
    assert run("consensus", [units("hello", "there"), units("hello", "their", "x")]) == ["", "hello"]


def test_consensus_compares_by_levenshtein_ratio() -> None:
    passes = [units("press one"), units("press ones")]
    assert run("consensus", passes, threshold=0.9)[1] == "press ones"  # 2 * 9 / 19 = 0.947
    assert run("consensus", passes, threshold=0.96)[1] == ""


def test_consensus_shifts_its_memory_by_what_was_committed() -> None:
    assert run("consensus", [units("a", "b", "c"), units("a", "b", "x"), units("x", "y")])[2] == "x"


def test_agreement_folds_case_and_punctuation() -> None:
    assert run("agreement", [units("Hello,", "you"), units("hello", "You.", "there")])[1] == "hello You."


def test_agreement_of_three_waits_for_three_passes() -> None:
    assert run("agreement", [units("a", "b"), units("a", "b"), units("a", "c")], n=3) == ["", "", "a"]


def test_attention_says_words_that_lie_before_the_last_frames_and_keeps_the_last_word() -> None:
    seen = units("a", frames_left=90) + units("b", frames_left=26) + units("c", frames_left=25) + units("d")
    assert run("attention", [seen]) == ["a b"]
    assert run("attention", [seen], frames=1) == ["a b c"]
    assert run("attention", [units("a")], frames=1) == [""]
    assert run("attention", [()]) == [""]


def test_attention_refuses_words_that_were_not_aligned() -> None:
    assert run("attention", [units("a", "b", frames_left=None)], frames=1) == [""]


def test_certain_stops_where_the_running_mean_falls_below_the_threshold() -> None:
    seen = units("a", probability=0.9) + units("b", probability=0.5) + units("c", probability=0.1)
    assert run("certain", [seen], threshold=-0.5) == ["a b"]  # means -0.11, -0.40, -1.03
    assert run("certain", [seen], threshold=-1.1) == ["a b c"]
    assert run("certain", [seen], threshold=-0.1) == [""]


def test_certain_refuses_words_that_were_not_aligned_and_everything_at_zero() -> None:
    assert run("certain", [units("a", probability=None)], threshold=-5) == [""]
    assert run("certain", [units("a", probability=1.0)], threshold=0) == [""]


@given(
    st.sampled_from([n for n in POLICIES if n != "offline"]),
    st.lists(st.lists(st.sampled_from("abc"), max_size=5), max_size=8),
)
def test_every_policy_commits_a_prefix_and_remembers_only_what_is_left(name: str, passes: list[list[str]]) -> None:
    values, state = resolve(name), ()
    for texts in passes:
        seen = units(*texts)
        count, state = POLICIES[name].decide(state, seen, values)
        assert 0 <= count <= len(seen)
        if state:
            assert state[-1] == seen[count:]


def test_the_default_policy_is_agreement_of_two_and_stands_first() -> None:
    assert DEFAULT_POLICY == "agreement"
    assert describe()[0]["name"] == "agreement"
    assert resolve("agreement") == {
        "n": 2,
        "frame_width": 1.0,
        "first": 1.0,
        "hurry": 0.3,
        "beam": 3,
        "phrase_timeout": 0.7,
        "context": 0,
    }


def test_the_table_is_plain_data_with_defaults_in_range() -> None:
    for policy in describe():
        assert policy["meaning"]
        for p in policy["parameters"]:
            assert p["minimum"] <= p["default"] <= p["maximum"]
            assert p["meaning"]


def test_the_paper_preset_decides_on_segments() -> None:
    for name in PRESETS["paper"].parameters:
        assert resolve(name, preset="paper")["segments"] == 1
    assert resolve("confidence", {"threshold": 0.5}, preset="paper")["threshold"] == 0.5


@pytest.mark.parametrize(
    ("name", "parameters", "says"),
    [
        ("wait", {}, "agreement, attention, certain, greedy, confidence, consensus, offline"),
        ("greedy", {"n": 2}, "frame_width"),
        ("agreement", {"n": 2.5}, "whole number from 2 to 5"),
        ("confidence", {"threshold": 1.5}, "from 0 to 1"),
        ("confidence", {"threshold": float("nan")}, "from 0 to 1"),
        ("agreement", {"frame_width": "fast"}, "from 0.25 to 5"),
    ],
)
def test_bad_names_and_values_say_what_is_accepted(name: str, parameters: dict[str, float], says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        resolve(name, parameters)


def test_presets_lie_from_fast_to_careful_and_a_policy_tells_its_own() -> None:
    tables = {p["name"]: p for p in describe()}
    agreement = {p["name"]: p["parameters"] for p in tables["agreement"]["presets"]}
    assert list(agreement) == ["fast", "default", "careful"]
    assert agreement["default"] == resolve("agreement")
    assert agreement["fast"]["frame_width"] < agreement["default"]["frame_width"]
    assert agreement["careful"]["hurry"] > agreement["default"]["hurry"]
    assert [p["name"] for p in tables["greedy"]["presets"]] == ["default", "paper"]
    assert tables["offline"]["presets"] == []


def test_unknown_presets_are_refused() -> None:
    with pytest.raises(PolicyError, match="fast, default, careful, paper"):
        resolve("greedy", preset="draft")
