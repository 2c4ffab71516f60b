"""The interpreter over a fake translator whose words lie at known places: nothing lost, changed or repeated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreter_run import Run, check, drive, phrases, positions, silence

from streamsvc.budget.slices import run_to_end
from streamsvc.frames.audio import SPEECH_RATE
from streamsvc.speech.errors import PolicyError, SpeechError
from streamsvc.speech.events import Commit, InterpretSettings, TentativeText
from streamsvc.speech.fake import FakeDetector, FakeTranslator, speak
from streamsvc.speech.interpreter import MAX_BUFFER_S, Interpreter
from streamsvc.speech.passes import quantised_prompt
from streamsvc.speech.policies import POLICIES
from streamsvc.speech.second import second_pass
from streamsvc.speech.text import recites
from streamsvc.speech.translator import Word
from streamsvc.speech.vad import CHUNK, PREROLL


@pytest.mark.parametrize("segments", [0, 1])
@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_says_every_word_once(policy: str, segments: int) -> None:
    has = any(p.name == "segments" for p in POLICIES[policy].parameters)
    audio = phrases((7, 1.0), (1, 3.0), (20, 0.4), (5, 0.0))
    run = drive(
        audio,
        FakeTranslator(unsure=policy in ("agreement", "confidence", "attention")),
        policy=policy,
        parameters={"segments": segments} if has else {},
    )
    check(run, audio)


plans = st.lists(st.tuples(st.integers(1, 12), st.floats(0, 3)), min_size=1, max_size=4)


@st.composite
def changes(draw):
    policy = draw(st.sampled_from(list(POLICIES)))
    values = {
        p.name: draw(
            st.integers(int(p.minimum), int(p.maximum)) if p.integer else st.floats(p.minimum, min(p.maximum, 3))
        )
        for p in POLICIES[policy].parameters
    }
    return policy, values


@settings(max_examples=60)
@given(
    plan=plans,
    block=st.integers(200, 40_000),
    first=changes(),
    later=st.dictionaries(st.integers(0, 80), changes(), max_size=3),
    waits=st.lists(st.integers(0, 4), min_size=1, max_size=8),
    drops=st.sets(st.integers(0, 12), max_size=3),
    stops=st.sets(st.integers(0, 80), max_size=3),
    unsure=st.booleans(),
)
def test_no_committed_word_is_lost_repeated_or_changed(plan, block, first, later, waits, drops, stops, unsure) -> None:
    audio = phrases(*plan)
    interpreter = Interpreter(
        FakeTranslator(unsure=unsure), InterpretSettings(policy=first[0], parameters=first[1]), FakeDetector()
    )
    run = Run(interpreter, [], [])
    outstanding, wait, issued = None, 0, 0

    def turn() -> bool:
        nonlocal outstanding, wait, issued
        if outstanding is None:
            outstanding = interpreter.next_pass()
            if outstanding is None:
                return False
            wait = waits[issued % len(waits)]
            issued += 1
        if wait > 0:
            wait -= 1
            return True
        done, outstanding = outstanding, None
        if issued - 1 in drops:
            interpreter.abandon(done)
        else:
            run.commits += [e for e in interpreter.finish(done, run_to_end(done.slices())) if isinstance(e, Commit)]
        return True

    for number, at in enumerate(range(0, len(audio), block)):
        interpreter.feed(audio[at : at + block])
        if number in later:
            interpreter.configure(policy=later[number][0], parameters=later[number][1])
        if number in stops:
            interpreter.pause()
        turn()
    interpreter.end()
    while turn():
        pass
    check(run, audio)


@pytest.mark.parametrize("policy", ["offline", "agreement", "greedy"])
def test_a_monologue_without_a_pause_keeps_the_buffer_bounded_and_the_lag(policy: str) -> None:
    audio = phrases((200, 0.5))
    held = 0.0

    def watch(interpreter: Interpreter) -> None:
        nonlocal held
        held = max(held, interpreter.statistics().buffer_s)

    run = drive(audio, policy=policy, actions=dict.fromkeys(range(2000), watch))
    check(run, audio)
    assert held < MAX_BUFFER_S + 2
    assert max(c.audio_ms - c.source_start_ms for c in run.commits) <= (MAX_BUFFER_S + 1) * 1000


def test_silence_makes_no_pass() -> None:
    run = drive(silence(30))
    assert run.commits == []
    assert run.interpreter.statistics().passes == 0
    assert run.interpreter.statistics().buffer_s < 1


def test_a_pass_that_hears_no_speech_commits_nothing() -> None:
    run = drive(phrases((8, 1.0)), FakeTranslator(no_speech=0.95))
    assert run.commits == []
    assert run.interpreter.finished
    assert run.interpreter.statistics().rejected > 0


def test_passes_come_with_every_frame_width_of_speech_and_not_in_pauses() -> None:
    slow, fast = (
        drive(phrases((10, 3.0)), policy="consensus", parameters={"frame_width": width}).interpreter.statistics()
        for width in (2.0, 0.5)
    )
    assert (slow.passes, fast.passes) == (3, 10)


def ends_of_partial_passes(translator: FakeTranslator, parameters: dict[str, float]) -> list[float]:
    """Seconds of the phrase that each pass over it heard, but the last one."""
    interpreter = Interpreter(translator, InterpretSettings(parameters=parameters), FakeDetector())
    audio, found = phrases((30, 2.0)), []
    for at in range(0, len(audio), 320):
        interpreter.feed(audio[at : at + 320])
        due = interpreter.next_pass()
        if due is not None:
            interpreter.finish(due, run_to_end(due.slices()))
            found += [] if due.final else [due.seconds - PREROLL / SPEECH_RATE]
    return found


def test_a_pass_that_says_nothing_is_followed_soon_and_one_that_says_something_a_frame_width_later() -> None:
    ends = ends_of_partial_passes(FakeTranslator(), {"first": 1.2, "hurry": 0.3, "frame_width": 2.0})
    assert ends[:4] == pytest.approx([1.2, 1.5, 3.5, 5.5], abs=0.1)


def test_where_no_word_is_said_passes_come_apart_until_they_are_a_frame_width_apart() -> None:
    ends = ends_of_partial_passes(FakeTranslator(no_speech=0.95), {"first": 0.6, "hurry": 0.3, "frame_width": 2.0})
    assert np.diff(ends)[:8] == pytest.approx([0.3, 0.3, 0.3, 0.3, 0.6, 1.2, 2.0, 2.0], abs=0.1)


def test_offline_makes_one_pass_a_phrase() -> None:
    assert drive(phrases((10, 3.0), (4, 3.0)), policy="offline").interpreter.statistics().passes == 2


def test_one_pass_is_outstanding_at_most_and_only_it_can_be_finished() -> None:
    interpreter = Interpreter(FakeTranslator(), InterpretSettings(), FakeDetector())
    interpreter.feed(phrases((10, 0)))
    due = interpreter.next_pass()
    assert due is not None
    assert interpreter.next_pass() is None
    result = run_to_end(due.slices())
    interpreter.finish(due, result)
    with pytest.raises(SpeechError, match="outstanding"):
        interpreter.finish(due, result)


def test_a_flush_says_that_the_silence_before_it_was_read_too() -> None:
    run = drive(phrases((5, 3.0)), policy="offline")
    (commit,) = run.commits
    assert commit.audio_ms - commit.source_end_ms == pytest.approx(2000, abs=150)


def test_slices_are_named_and_one_call_each() -> None:
    interpreter = Interpreter(FakeTranslator(), InterpretSettings(policy="greedy"), FakeDetector())
    interpreter.feed(phrases((10, 0)))
    due = interpreter.next_pass()
    assert due is not None
    assert list(due.slices()) == ["encode", "identify", "decode", "align"]


def test_a_partial_pass_decodes_with_the_policys_beam_and_a_flush_with_the_widest() -> None:
    interpreter = Interpreter(FakeTranslator(), InterpretSettings(parameters={"beam": 2}), FakeDetector())
    interpreter.feed(phrases((10, 1.0)))
    partial = Interpreter(FakeTranslator(), InterpretSettings(parameters={"beam": 2}), FakeDetector())
    partial.feed(speak(0, 5))
    assert [p.beam for p in (partial.next_pass(), interpreter.next_pass()) if p is not None] == [2, 5]


@pytest.mark.parametrize(("policy", "aligned"), [("agreement", False), ("attention", True), ("certain", True)])
def test_a_first_pass_is_aligned_only_where_the_policy_decides_on_it(policy: str, aligned: bool) -> None:
    interpreter = Interpreter(FakeTranslator(), InterpretSettings(policy=policy, source="es"), FakeDetector())
    interpreter.feed(speak(0, 5))
    due = interpreter.next_pass()
    assert due is not None
    assert list(due.slices()) == ["encode", "decode", *(["align"] if aligned else [])]


def test_an_abandoned_partial_pass_waits_for_more_sound_and_an_abandoned_flush_stays_due() -> None:
    interpreter = Interpreter(FakeTranslator(), InterpretSettings(), FakeDetector())
    interpreter.feed(phrases((10, 0)))
    due = interpreter.next_pass()
    assert due is not None and not due.final
    interpreter.abandon(due)
    assert interpreter.next_pass() is None
    interpreter.end()
    flush = interpreter.next_pass()
    assert flush is not None and flush.final
    interpreter.abandon(flush)
    again = interpreter.next_pass()
    assert again is not None and again.final and again.beam == 1
    (commit, *_) = interpreter.finish(again, run_to_end(again.slices()))
    assert isinstance(commit, Commit) and len(commit.text.split()) == 10


def test_a_phrase_that_the_model_always_fails_on_is_left_out_and_what_follows_is_said() -> None:
    interpreter = Interpreter(FakeTranslator(), InterpretSettings(policy="offline"), FakeDetector())
    interpreter.feed(phrases((10, 2.5), (5, 2.5)))
    late = interpreter.next_pass()
    assert late is not None and not interpreter.abandon(late)
    given_up = []
    for _ in range(3):
        due = interpreter.next_pass()
        assert due is not None and due.final
        given_up.append(interpreter.abandon(due, failed=True))
    assert given_up == [False, False, True]
    due = interpreter.next_pass()
    assert due is not None
    (commit, *_) = interpreter.finish(due, run_to_end(due.slices()))
    assert isinstance(commit, Commit) and commit.text == "w10 w11 w12 w13 w14"


def test_what_is_heard_again_after_a_cut_is_neither_said_nor_reason_to_align() -> None:
    echoes = []

    class Echo(FakeTranslator):
        def _decode(self, request):
            hypothesis = super()._decode(request)
            first = hypothesis.segments[0] if hypothesis.segments else None
            if first is None or request.prefix or first.words[0].text == "w0":
                return hypothesis
            before = int(first.words[0].text[1:]) - 1
            echoes.append(before)
            heard = replace(first.words[0], text=f"w{before}")
            return replace(hypothesis, segments=(replace(first, words=(heard, *first.words)), *hypothesis.segments[1:]))

    audio = phrases((90, 1.0))
    run = drive(audio, Echo())
    assert run.words == list(positions(audio))
    assert echoes and {c.confidence for c in run.commits} == {0.95}, "every word has its time from the sound"


def test_a_change_from_words_to_segments_in_mid_phrase_keeps_the_sound_of_what_was_said() -> None:
    audio = phrases((30, 1.0))
    run = drive(audio, policy="greedy", actions={40: lambda i: i.configure(parameters={"segments": 1})})
    assert run.words == list(positions(audio))
    where = positions(audio)
    for passage in run.passages:
        words = passage.text.split()
        last, first = where[words[-1]][1], where[words[0]][0]
        assert passage.seconds * 1000 >= last - first - 1


def test_a_long_phrase_is_asked_again_what_language_it_is_and_forgets_where_it_was_quiet() -> None:
    class Asked(FakeTranslator):
        times = 0

        def identify(self, encoded):
            self.times += 1
            return super().identify(encoded)

    translator, kept = Asked(), []
    audio = phrases((120, 1.0))
    note = {n: lambda i: kept.append(len(i._phrases[0].quiet) * CHUNK / 16_000) for n in range(50, 300, 50)}
    drive(audio, translator, source="auto", actions=note)
    assert translator.times >= 3 and max(kept) < 20


def test_words_that_the_alignment_leaves_no_sound_are_not_said() -> None:
    class Babbler(FakeTranslator):
        babble = 3

        def align(self, encoded, language, words, *, prefix=()):
            words = super().align(encoded, language, words, prefix=prefix)
            at = words[-self.babble].attended_s
            return (*words[: -self.babble], *(replace(w, attended_s=at) for w in words[-self.babble :]))

    audio = phrases((10, 1.0))
    run = drive(audio, Babbler(), policy="offline")
    assert run.words == [f"w{i}" for i in range(7)]
    Babbler.babble = 2
    assert drive(audio, Babbler(), policy="offline").words == [f"w{i}" for i in range(10)]
    Babbler.babble = 10
    assert drive(audio, Babbler(), policy="offline").words == []


def test_tentative_text_is_what_the_policy_held_back_and_ends_empty() -> None:
    run = drive(phrases((8, 1.0)))
    assert run.tentative[0].startswith("w0")
    assert run.tentative[-1] == ""


def test_a_language_is_locked_for_a_phrase_and_identified_again_in_the_next() -> None:
    translator = FakeTranslator(language="fr")
    run = drive(phrases((10, 2.0)), translator)
    assert run.interpreter.language == "fr"
    assert set(translator.decoded) == {"fr"}


def test_a_forced_language_is_never_identified() -> None:
    translator = FakeTranslator(language="fr")
    drive(phrases((10, 2.0)), translator, source="it")
    assert set(translator.decoded) == {"it"}


def test_the_source_can_change_in_mid_stream() -> None:
    translator = FakeTranslator(language="fr")
    audio = phrases((10, 2.0), (10, 2.0))
    run = drive(audio, translator, source="it", actions={50: lambda i: i.configure(source="es")})
    check(run, audio)
    assert list(dict.fromkeys(translator.decoded)) == ["it", "es"]


def test_parameters_alone_change_the_policy_in_force_and_bad_ones_change_nothing() -> None:
    interpreter = Interpreter(FakeTranslator(), InterpretSettings(parameters={"n": 3}), FakeDetector())
    interpreter.configure(parameters={"frame_width": 0.5})
    assert interpreter.settings.parameters["n"] == 3
    with pytest.raises(PolicyError):
        interpreter.configure(policy="offline", parameters={"n": 2})
    with pytest.raises(SpeechError, match="auto or one of"):
        interpreter.configure(source="xx")
    with pytest.raises(SpeechError, match="accepted: en"):
        interpreter.configure(target="de")
    assert interpreter.settings.policy == "agreement"


def test_damaged_samples_do_no_harm() -> None:
    interpreter = Interpreter(FakeTranslator(), InterpretSettings(), FakeDetector())
    interpreter.feed(np.full(32_000, np.nan, np.float32))
    interpreter.feed(np.zeros(0, np.float32))
    interpreter.end()
    with pytest.raises(SpeechError, match="ended"):
        interpreter.feed(np.zeros(10, np.float32))


def test_prompts_have_few_lengths() -> None:
    history = [Word(f"w{i}", 0, 0, (), (i, i + 1)) for i in range(40)]
    assert quantised_prompt(history, 223)[0] == quantised_prompt(history, 64)[0]
    tokens, words = quantised_prompt(history, 50)
    assert len(tokens) == 32 and len(words) == 16 and tokens[-1] == 40
    assert quantised_prompt(history[:10], 223) == ((), ())


@pytest.mark.parametrize("segments", [0, 1])
def test_every_commit_belongs_to_one_passage_whose_sound_holds_its_words(segments: int) -> None:
    # Short phrases, and one without a pause that is too long for a buffer.
    audio = phrases((7, 1.0), (1, 1.5), (90, 1.0), (5, 0.0))
    translator = FakeTranslator()
    run = drive(audio, translator, policy="consensus", parameters={"segments": segments})
    assert [i for p in run.passages for i in p.ids] == [c.id for c in run.commits]
    assert len(run.passages) > 4
    for passage in run.passages:
        assert passage.text == " ".join(run.commits[i].text for i in passage.ids)
        assert 0 < passage.seconds <= 27
        heard = [w.text for w in translator._hear(passage.audio)]
        said = passage.text.split()
        assert heard == said
        assert passage.language == "es"


def test_a_policy_that_waits_for_the_phrase_leaves_nothing_to_correct() -> None:
    assert drive(phrases((7, 1.0), (5, 1.0)), policy="offline").passages == []


def test_a_second_pass_says_a_whole_passage_again_or_nothing_when_it_is_no_better() -> None:
    (passage,) = drive(phrases((3, 1.0)), policy="greedy").passages
    assert run_to_end(second_pass(FakeTranslator(), passage, 0.9)) is None
    assert run_to_end(second_pass(FakeTranslator(no_speech=0.95), passage, 0.9)) is None
    assert run_to_end(second_pass(FakeTranslator(wide="indeed"), passage, 0.9)) == "w0 w1 w2 indeed"


def test_tentative_events_are_not_commits() -> None:
    assert not isinstance(TentativeText("x"), Commit)


def test_names_of_a_glossary_prompt_every_pass_and_can_be_changed_in_mid_call() -> None:
    translator = FakeTranslator()
    drive(
        phrases((6, 1.0), (6, 1.0)),
        translator,
        actions={30: lambda i: i.configure(glossary=["Cork"])},
        glossary=("Siobhan Kowalczyk", "Drogheda"),
    )
    names, town = (translator.tokens(text) for text in ("Siobhan Kowalczyk, Drogheda.", "Cork."))
    assert translator.prompts[0] == names and translator.prompts[-1] == town


def test_a_glossary_comes_before_what_was_said_and_both_fit() -> None:
    translator = FakeTranslator()
    glossary = tuple(f"name{i}" for i in range(60))
    drive(phrases(*[(20, 1.0)] * 15), translator, glossary=glossary, parameters={"context": 223})
    names = translator.tokens(", ".join(glossary) + ".")
    assert all(p[:60] == names for p in translator.prompts)
    assert {len(p) - 60 for p in translator.prompts} == {0, 32, 64, 128}


def test_a_glossary_that_the_model_has_no_room_for_is_refused_and_the_old_one_stays() -> None:
    interpreter = Interpreter(FakeTranslator(), InterpretSettings(glossary=("Cork",)), FakeDetector())
    with pytest.raises(SpeechError, match="of 200 tokens isn't accepted: about 32 short names"):
        interpreter.configure(glossary=["a b c d"] * 50)
    assert interpreter.settings.glossary == ("Cork",)


def test_reciting_the_glossary_is_told_from_saying_a_term_of_it() -> None:
    terms = [["university", "of", "applied", "sciences"], ["drogheda"], ["cork"]]
    assert not recites(["at", "the", "university", "of", "applied", "sciences", "in", "cork"], terms)
    assert recites(["well", "of", "applied", "sciences", "drogheda", "cork"], terms)
