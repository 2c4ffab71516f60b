"""`bench speech`: its recordings, its memory, its watch over words, its choice, and one whole run with the fakes."""

from __future__ import annotations

import gzip
import json
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamsvc.bench.speech import SpeechBench, run_speech
from streamsvc.bench.speech_data import CHOOSE, PROMPTS, REPORT, STREAMS, Source, join, prompts, sources
from streamsvc.bench.speech_grid import TARGETS, choose, grid, misses, named
from streamsvc.bench.speech_plot import Point, curves, front
from streamsvc.bench.speech_run import Remembered, Watched, interpret
from streamsvc.bench.speech_score import Quality, Scored, figures
from streamsvc.budget.slices import run_to_end
from streamsvc.cli import main
from streamsvc.flags import UsageError
from streamsvc.speech.errors import PolicyError, SpeechError
from streamsvc.speech.events import InterpretSettings
from streamsvc.speech.fake import FakeDetector, FakeTranslator, speak
from streamsvc.speech.metrics import Output, Phrase
from streamsvc.speech.policies import POLICIES, resolve

RATE = 16_000
WORDS = 12
"""In a prompt: 4.8 s."""


def words(prompt: int) -> str:
    return " ".join(f"w{prompt * WORDS + i}" for i in range(WORDS))


@pytest.fixture
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache with eight Spanish prompts, and some that are of no use."""
    monkeypatch.setenv("STREAMSVC_CACHE", str(tmp_path))
    english = {f"p{i}": words(i) for i in range(8)}
    english |= {"short": "w0 w1 w2", "noise": "[a sound of bells]", "alike": words(0), "brief": words(9)}
    for language in ("en", "es"):
        folder = tmp_path / "speech" / language
        folder.mkdir(parents=True)
        with gzip.open(folder / f"core-sounds-{language}.txt.gz", "wt") as out:
            out.writelines(f"{name}: {text}\n" for name, text in english.items())
    for name in english:
        number = int(name[1:]) if name[1:].isdigit() else 0
        sound = speak(number * WORDS, 5 if name == "brief" else WORDS)
        with wave.open(str(tmp_path / "speech" / "es" / f"{name}.wav"), "wb") as wav:
            wav.setnchannels(1)
            wav.setsampwidth(2)
            wav.setframerate(RATE)
            wav.writeframes((sound * 32767).astype("<i2").tobytes())


def source(prompt: int = 0) -> Source:
    sound = speak(prompt * WORDS, WORDS)
    return Source(f"p{prompt}", "es", sound, (Phrase(0, len(sound) / 16, words(prompt)),))


def test_only_prompts_of_some_length_with_a_translation_are_used(recordings: None) -> None:
    # `alike` comes first by name, and p0 says the same.
    assert [p.name for p in prompts("es")] == ["alike", *(f"p{i}" for i in range(1, 8))]


def test_the_halves_share_nothing_and_streams_hold_the_same_prompts(recordings: None) -> None:
    found = sources("es")
    names = {half: {p.name for p in found[half, PROMPTS]} for half in (CHOOSE, REPORT)}
    assert not names[CHOOSE] & names[REPORT] and len(names[CHOOSE]) == len(names[REPORT]) == 4
    for half in (CHOOSE, REPORT):
        references = [p.phrases[0].reference for p in found[half, PROMPTS]]
        assert [p.reference for s in found[half, STREAMS] for p in s.phrases] == references
    assert len(sources("es", 2)[CHOOSE, PROMPTS]) == 2


def test_a_stream_has_its_phrases_where_they_are_heard() -> None:
    stream = join("s", [source(0), source(1)])
    for number, phrase in enumerate(stream.phrases):
        heard = stream.samples[round(phrase.start_ms * 16) : round(phrase.end_ms * 16)]
        assert np.array_equal(heard, speak(number * WORDS, WORDS))
    assert np.array_equal(stream.samples, join("s", [source(0), source(1)]).samples)


def test_nothing_is_computed_twice_and_everything_is_charged_twice() -> None:
    fake = FakeTranslator()
    ticks = iter(np.arange(0.0, 100.0, 0.25))
    memory = Remembered(fake, lambda: next(ticks))
    first = interpret(memory, source(), "greedy", resolve("greedy"), FakeDetector())
    decoded = len(fake.decoded)
    again = interpret(memory, source(), "greedy", resolve("greedy"), FakeDetector())
    assert len(fake.decoded) == decoded
    assert again == first
    assert first.compute_s > 0


def test_what_is_remembered_is_what_would_have_been_computed() -> None:
    run = interpret(
        Remembered(FakeTranslator(unsure=True)), source(), "agreement", resolve("agreement"), FakeDetector()
    )
    assert run.output.text.replace("?", "") == words(0)
    assert run.faults == ()


def test_lost_repeated_and_changed_words_are_seen() -> None:
    class Careless(Watched):
        fault = ""

        def _commit(self, pass_, result, taken, count):
            commit = super()._commit(pass_, result, taken, count)
            if self.fault == "lost":
                return replace(commit, text=" ".join(commit.text.split()[:-1]))
            if self.fault == "repeated":
                return replace(commit, text=f"{commit.text} {commit.text}")
            if self.fault == "changed":
                return replace(commit, text=commit.text.replace("w2", "x"))
            return commit

    for fault in ("", "lost", "repeated", "changed"):
        interpreter = Careless(FakeTranslator(), InterpretSettings(policy="greedy", source="es"), FakeDetector())
        interpreter.fault = fault
        for first in (0, 8):
            interpreter.feed(speak(first, 8))
            due = interpreter.next_pass()
            interpreter.finish(due, run_to_end(due.slices()))
        assert bool(interpreter.faults) == bool(fault), fault


def test_every_policy_is_on_the_grid_and_offline_comes_first() -> None:
    settings = grid()
    assert {s.policy for s in settings} == set(POLICIES)
    assert settings[0].policy == "offline"
    assert len({s.name for s in settings}) == len(settings)
    assert {s.policy for s in grid(("certain",))} == {"offline", "certain"}
    assert any(s.name == "consensus paper threshold=0.5" and s.parameters["segments"] for s in settings)
    with pytest.raises(PolicyError, match="isn't known"):
        grid(("wait",))


def test_the_best_within_the_lag_is_chosen_unless_it_says_too_much() -> None:
    def row(name: str, share: float, lag: float, ratio: float = 1.0) -> dict:
        return {"setting": name, "chrf_share": share, "LAAL_CA": lag, "word_ratio": ratio}

    rows = [row("late", 1.0, 3001), row("good", 0.97, 2900), row("fast", 0.9, 1500), row("talks", 0.99, 2000, 1.2)]
    assert [choose(rows, t, 1.05)["setting"] for t in TARGETS] == ["good", "fast"]
    assert choose(rows[:1], TARGETS[0], 1.05) is None
    assert choose(rows, TARGETS[0], 1.2)["setting"] == "talks", "offline says as many words"


def test_what_a_target_misses_is_said() -> None:
    row = {"chrf_share": 0.97, "bleu_share": 0.891, "LAAL_CA": 3100, "word_ratio": 1.15}
    assert misses(row, TARGETS[0]) == ["bleu 89.1 % < 90 %", "lag 3.10 s > 3 s", "words / reference 1.15 > 1.1"]
    assert misses(row | {"bleu_share": 0.9, "LAAL_CA": 3000, "word_ratio": 1.1}, TARGETS[0]) == []


def test_shares_are_of_offline_and_intervals_hold_the_figure() -> None:
    quality = Quality()
    references = ["press one now please", "goodbye and thank you", "the line is busy", "hold on"]
    whole = Scored.of(
        [Output(tuple(r.split()), (900.0,) * 4, (950.0,) * 4, 800) for r in references], references, quality
    )
    half = [Output(tuple(r.split())[:2], (400.0, 500.0), (450.0, 600.0), 800) for r in references]
    scored = Scored.of(half, references, quality)
    assert figures(whole, whole, quality)["chrf_share"] == 1
    found = figures(scored, whole, quality, draws=50)
    assert found["chrf"] < 100 and found["word_ratio"] == pytest.approx(8 / 14)
    for name, (low, high) in found["intervals"].items():
        assert low <= found[name] + 1e-9 and found[name] - 1e-9 <= high, name
    assert found["LAAL"] == pytest.approx((3 * (400 + 500 - 200) / 2 + (400 + 500 - 400) / 2) / 4)
    assert found["chrf"] == pytest.approx(Quality().score("chrf", scored.counts["chrf"]))


def test_scores_are_sacrebleus_own() -> None:
    import sacrebleu

    texts, references = ["press one now", "good bye"], ["press one please now", "goodbye my friend"]
    quality = Quality()
    counts = quality.counts(texts, references)
    assert quality.score("chrf", counts["chrf"]) == pytest.approx(sacrebleu.corpus_chrf(texts, [references]).score)
    assert quality.score("bleu", counts["bleu"]) == pytest.approx(sacrebleu.corpus_bleu(texts, [references]).score)
    assert quality.signatures()["chrf"].startswith("nrefs:1|case:mixed")


def test_a_run_fills_every_table_and_draws_its_curve(recordings: None, tmp_path: Path) -> None:
    told: list[str] = []
    steps: list[tuple[float, float]] = []
    out = tmp_path / "bench"
    options = SpeechBench(out, ("es",), ("agreement", "greedy"), draws=20)
    found = run_speech(
        options, told.append, lambda done, total: steps.append((done, total)), FakeTranslator(), FakeDetector
    )
    assert json.loads(json.dumps(found)) == found == json.loads((out / "figures.json").read_text())
    assert steps[-1][0] == pytest.approx(steps[-1][1])
    assert found["faults"] == []
    rows = {(r["half"], r["kind"], r["setting"]): r for r in found["rows"]}
    assert {k[2] for k in rows} == {s.name for s in grid(options.policies)}
    for row in rows.values():
        assert row["chrf"] == pytest.approx(100), row["setting"]
        assert row["word_ratio"] == 1
        assert row["LAAL"] <= row["LAAL_CA"]
        assert ("intervals" in row) == (row["half"] == REPORT)
    assert rows[REPORT, PROMPTS, "offline"]["LAAL"] > rows[REPORT, PROMPTS, "greedy frame_width=1"]["LAAL"]
    assert [h["misses"] for h in found["headlines"]] == [[]] * 4
    table = (out / "table.md").read_text()
    assert "lost, repeated or changed: none" in table and "nrefs:1" in table
    assert (out / "curve.svg").read_text().startswith("<svg")


def test_streams_alone_are_still_compared_with_offline_on_prompts(recordings: None, tmp_path: Path) -> None:
    options = SpeechBench(tmp_path / "bench", ("es",), ("greedy",), (STREAMS,), draws=5)
    found = run_speech(options, lambda _: None, None, FakeTranslator(), FakeDetector)
    assert {r["kind"] for r in found["rows"]} == {STREAMS}
    assert {r["setting"] for r in found["rows"]} == {s.name for s in grid(options.policies)}
    assert all(r["chrf_share"] == 1 for r in found["rows"])


def test_a_curve_follows_the_best_settings_and_rings_what_was_chosen() -> None:
    points = [
        Point(2.5, 85, "greedy", "beaten", False),
        Point(9, 100, "offline", "late", False),
        Point(1, 80, "greedy", "a<b", False),
        Point(2, 90, "greedy", "c", True),
        Point(3, 99, "offline", "d", False),
    ]
    drawn = curves("t", {"prompts": points, "streams": points}, [(2.0, 90.0)])
    assert drawn.count("<circle") == 2 * 4 + 2 + 1
    assert [p.name for p in front(points[:-1])] == ["a<b", "c", "late"]
    assert drawn.count("off the scale: late 100 % at 9.0 s") == 2
    assert "a&lt;b: 80.0 % at 1.00 s" in drawn and drawn.count('r="6"') == 2 + 1


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--languages", "xx"], "no recordings in xx; es, fr"),
        (["--kinds", "songs"], "prompts or streams, not as songs"),
        (["--policies", "wait"], "isn't known"),
        (["--limit", "0"], "at least one prompt"),
    ],
)
def test_bad_options_are_refused_plainly(tmp_path: Path, capsys, flags: list[str], says: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["bench", "speech", "--out", str(tmp_path / "b"), *flags])
    assert stop.value.code == 2
    assert says in capsys.readouterr().err


def test_without_its_scorer_the_bench_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sacrebleu.metrics.bleu", None)
    with pytest.raises(SpeechError, match="pip install sacrebleu"):
        Quality()


def test_single_settings_are_named_as_the_tables_name_them() -> None:
    found = named(["agreement n=3 frame_width=0.35", "attention", "agreement n=3 frame_width=0.35"])
    assert [s.name for s in found] == ["offline", "agreement n=3 frame_width=0.35", "attention"]
    assert found[1].parameters["n"] == 3 and found[1].parameters["frame_width"] == 0.35
    of_grid = {s.name for s in grid(["agreement"])}
    assert named(["agreement n=2 frame_width=1 first=1 hurry=0.3 beam=3"])[1].name in of_grid
    for wrong, error in (("agreemint", PolicyError), ("agreement m=3", PolicyError), ("agreement n=x", UsageError)):
        with pytest.raises(error):
            named([wrong])
