"""`bench budget --real`: a worker's own stages under prepared frames and voices; what was due is what is counted."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from test_bench_calls import Seconds

from streamsvc.bench.budget_material import LANGUAGE, SETS, Material, Phrase, Voice, by_phrase, prepare
from streamsvc.bench.budget_real import LANES, RealBench, rate, run_real
from streamsvc.bench.budget_second import Endless
from streamsvc.bench.budget_worker import Shift, WorkerPlay, words_due
from streamsvc.bench.speech_data import Source, prompts
from streamsvc.budget import Class, MonotonicClock, Rung
from streamsvc.frames import SPEECH_RATE, Rig
from streamsvc.frames.ring import Ring
from streamsvc.simulate import ScenarioError
from streamsvc.speech import metrics
from streamsvc.speech.events import Passage
from streamsvc.speech.translator import Hypothesis, Request
from streamsvc.worker.lanes import Lanes

VOICE = Voice(np.zeros(16_000, np.float32), (Phrase(0, 2000, 4), Phrase(3000, 5000, 3), Phrase(6000, 9000, 5)), 0.2)


def material(voices: tuple[Voice, ...], top_s: float) -> Material:
    ring = Ring.create(slot_bytes=1, inward=1, outward=1)
    return Material(Rig((), ()), ring, (Rung("top", 1, 1.0),), top_s, voices, None)


def test_words_belong_to_the_phrase_that_began_last_before_their_sound_was_over() -> None:
    assert by_phrase([0, 3000, 6000], [(1500, 2), (3000, 1), (3100, 4), (9500, 1)]) == [3, 4, 1]
    assert by_phrase([], [(100, 2)]) == [0] * 0
    assert by_phrase([500], [(100, 2)]) == [0]


def test_a_word_is_good_when_it_was_due_and_said_in_time() -> None:
    said = [(1800.0, 3, 1.0), (1900.0, 1, 6.0), (4900.0, 7, 2.0), (8900.0, 5, 1.0)]
    found = words_due(VOICE, said, 5.0)
    assert [(d.units, d.good()) for d in found] == [(3, True), (1, False), (3, True)]
    assert [d.captured_ns for d in found] == [2 * 10**9, 2 * 10**9, 5 * 10**9]
    assert words_due(VOICE, [], 1.0) == []


def test_the_frame_rate_is_what_makes_the_load_or_there_is_none() -> None:
    fps = rate(1.4, 2, material((VOICE, VOICE), 0.04))
    assert 2 * (fps * 0.04 + 0.2) / LANES == pytest.approx(1.4)
    with pytest.raises(ScenarioError, match="no frame rate"):
        rate(0.2, 4, material((VOICE,), 0.04))


def test_sets_are_played_forth_and_back_without_a_jump() -> None:
    numbers = [material((), 1.0).number_at(i) for i in range(5 * SETS)]
    assert set(numbers) == set(range(SETS))
    assert all(abs(a - b) == 1 for a, b in pairwise(numbers))


def test_there_is_always_one_more_to_do_until_the_speaker_leaves() -> None:
    fourth = threading.Event()

    class Counting(Seconds):
        decodes = 0

        def decode(self, requests: Sequence[Request]) -> list[Hypothesis]:
            self.decodes += 1
            if self.decodes == 4:
                fourth.set()
            return super().decode(requests)

    lanes = Lanes(1, MonotonicClock())
    endless = Endless(Counting(), lanes, Passage((0,), "", np.zeros(32_000, np.float32), LANGUAGE, (), ()))
    lanes.start()
    assert fourth.wait(20)
    endless.close("0/speech")
    lanes.close_stream("0/speech")
    lanes.stop()
    assert lanes.spent_ns(Class.BEST_EFFORT) > 0 and lanes.statistics().waiting == 0


def test_each_session_is_due_its_own_frames_and_every_frame_made_has_its_cost_in_both_kinds_of_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("budget_material.SETS", 4), ("budget_material.TIMED_SETS", 4), ("budget_worker.LAG_S", 0.1)):
        monkeypatch.setattr(f"streamsvc.bench.{name}", value)
    fed = prepare(None, None, 0, 1.0, 2, lambda _: None)
    worked = WorkerPlay(fed, Shift(2, 10.0, 1.0), None, None, 2).run()
    for session in worked.outcome.sessions:
        assert len(session.views) == 10 and session.speech_goodput is None
        assert [d.captured_ns for d in session.views] == sorted({d.captured_ns for d in session.views})
    assert len(worked.cpu) == len(worked.outcome.costs) > 0
    assert all(c.measured_ns > 0 and c.predicted_ns > 0 for c in (*worked.cpu, *worked.outcome.costs))
    assert worked.passes == 0 and worked.lags_s == ()


def test_a_short_run_of_real_views_accounts_for_all_that_was_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = prompts(LANGUAGE)[0].samples[: 2 * SPEECH_RATE]
    spoken = np.concatenate([prompt, np.zeros(8 * SPEECH_RATE, np.float32)])
    source = Source("short", LANGUAGE, spoken, (metrics.Phrase(0.0, 2000.0, ""),))
    for name, value in (
        ("budget_material.streams", lambda *_: [source]),
        ("budget_material.SETS", 6),
        ("budget_material.TIMED_SETS", 5),
        ("budget_worker.LAG_S", 0.5),
        ("budget_real.LAG_S", 0.5),
        ("budget_real.COLD_S", 0.5),
        ("budget_real.Whisper", Seconds),
        ("budget_real.warm_up", lambda net: None),
    ):
        monkeypatch.setattr(f"streamsvc.bench.{name}", value)
    told: list[str] = []
    figures = run_real(RealBench(tmp_path, 1, ("planner-goodput",), seconds=2.5), told.append)
    (run,), (prediction,) = figures["runs"], figures["predictions"]
    assert 0 <= run["video"] <= 1 and 0 <= run["speech"] <= 1 and run["load"] == 0.7
    assert len(run["live"]["video_by_second"]) == 3 and None not in run["live"]["video_by_second"]
    assert prediction["frames"] > 0 and prediction["lane_p50"] >= 0 and prediction["cpu_p50"] >= 0
    assert any("error against CPU time" in line for line in told)
    assert json.loads((tmp_path / "budget-real.json").read_text())["top_rung"]["name"].startswith("net-")
    assert (tmp_path / "budget-real-1.svg").read_text().startswith("<svg")
