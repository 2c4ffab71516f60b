"""The voice: clauses and rates as pure decisions, joins without clicks, an engine that dies, and Piper itself."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.budget import MockClock
from streamsvc.speech.errors import VoiceError
from streamsvc.speech.voice import Clause, PiperEngine, RoomTone, Schedule, SpeechChunk, Voice, VoiceProcess
from streamsvc.speech.voice.schedule import (
    MAX_AGE_S,
    MAX_RATE,
    RATE_STEP,
    RUNS_OUT_S,
    SILENT_S,
    pause_after,
    rate_for,
)
from streamsvc.speech.voice.sound import trimmed, with_pause
from streamsvc.speech.voice.track import joined, speak_track
from streamsvc.speech.voice.voice import REST_S

RATE = 48_000


def test_a_clause_ends_at_punctuation() -> None:
    schedule = Schedule()
    schedule.say(0, "Please leave a message,", 0)
    schedule.say(1, "then hang up. Good", 0.1)
    first, second = schedule.next(0.1), schedule.next(0.1)
    assert first is not None and (first.text, first.ids) == ("Please leave a message,", (0,))
    assert second is not None and (second.text, second.ids) == ("then hang up.", (1,))
    assert schedule.next(0.1) is None


def test_a_word_alone_waits_until_it_is_old() -> None:
    schedule = Schedule()
    schedule.say(0, "then", 1.0)
    assert schedule.next(1.5) is None
    assert schedule.wake_s(1.5) == 1.0 + MAX_AGE_S
    clause = schedule.next(1.0 + MAX_AGE_S)
    assert clause is not None and clause.text == "then"


def test_after_a_silence_two_words_are_spoken_at_once() -> None:
    schedule = Schedule()
    schedule.placed(0.0, 1.0)
    schedule.say(0, "then hang", 1.4)
    assert schedule.next(1.4) is None
    assert schedule.wake_s(1.4) == 1.0 + SILENT_S
    clause = schedule.next(1.0 + SILENT_S)
    assert clause is not None and clause.text == "then hang"


def test_half_a_clause_is_spoken_before_the_voice_falls_silent_and_not_sooner() -> None:
    schedule = Schedule()
    schedule.placed(0.0, 1.0)
    schedule.say(0, "then hang up", 0.6)
    assert schedule.next(0.7) is None
    assert schedule.wake_s(0.7) == 1.0 - RUNS_OUT_S
    clause = schedule.next(1.0 - RUNS_OUT_S)
    assert clause is not None and clause.text == "then hang up"


def test_the_end_of_the_text_lets_the_last_words_go() -> None:
    schedule = Schedule()
    schedule.say(0, "good bye", 0)
    schedule.end()
    assert schedule.next(0.0) is not None


def test_clauses_wait_while_enough_is_unheard_and_then_merge() -> None:
    schedule = Schedule()
    schedule.placed(0, 4)
    schedule.say(0, "One two three.", 0)
    schedule.say(1, "Four five six.", 1)
    assert schedule.next(1) is None
    assert schedule.wake_s(1) == 3.5
    clause = schedule.next(3.5)
    assert clause is not None and clause.text == "One two three. Four five six." and clause.ids == (0, 1)


def test_the_rate_rises_smoothly_to_a_quarter_more_and_falls_back() -> None:
    rate, seen = 1.0, []
    for behind in [0.2] * 3 + [10] * 8 + [0] * 8:
        rate = rate_for(behind, rate)
        seen.append(rate)
    steps = np.diff([1.0, *seen])
    assert np.abs(steps).max() <= RATE_STEP + 1e-9
    assert max(seen) == MAX_RATE
    assert seen[-1] == 1.0


def test_pauses_shrink_when_the_voice_is_behind() -> None:
    assert pause_after("End.", 0) > pause_after("End.", 2) > pause_after("End.", 5) > 0
    assert pause_after("End.", 0) > pause_after("clause,", 0) > pause_after("word", 0)


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["a", "b,", "c.", "long", "end!"]), min_size=1, max_size=6), st.floats(0, 3)
        ),
        max_size=20,
    )
)
def test_every_word_is_spoken_once_in_order_however_late_the_voice_is(said: list[tuple[list[str], float]]) -> None:
    schedule, now, words, spoken = Schedule(), 0.0, [], []

    def drain() -> None:
        while (clause := schedule.next(now)) is not None:
            assert 1 <= clause.rate <= MAX_RATE
            spoken.extend(clause.text.split())
            schedule.placed(now, 1.5 * len(clause.text.split()))

    for number, (texts, gap) in enumerate(said):
        schedule.say(number, " ".join(texts), now)
        words += texts
        drain()
        now += gap
    schedule.end()
    while schedule.waiting_words:
        wake = schedule.wake_s(now)
        assert wake is not None
        now = max(now, wake) + 1e-6
        drain()
    assert spoken == words


def test_joins_do_not_click() -> None:
    speech = np.sin(np.arange(RATE) * 0.1).astype(np.float32)
    tone = RoomTone()
    heard = np.concatenate([with_pause(trimmed(s), 0.2, tone) for s in (speech, speech[7:-9])])
    jumps = np.abs(np.diff(heard))
    assert jumps.max() < 0.11  # the sine's own steepest step is 0.1
    edge = len(trimmed(speech))
    assert jumps[edge - 3 : edge + 3].max() < 0.005
    assert 5e-5 < np.sqrt(np.mean(heard[edge + 100 : edge + 5000] ** 2)) < 1e-3


def test_the_room_has_no_seam() -> None:
    tone = RoomTone(0.1)
    steps = np.diff(np.concatenate([tone.fill(777) for _ in range(20)]))
    assert abs(steps[4799]) < 4 * steps.std()


def test_silence_trims_to_nothing() -> None:
    assert len(trimmed(np.zeros(1000, np.float32))) == 0


class Engine:
    """Speaks each word as a tenth of a second; `broken` raises instead."""

    def __init__(self, broken: bool = False) -> None:
        self.broken, self.texts = broken, []

    def start(self) -> None: ...

    def synthesise(self, text: str, rate: float) -> Iterator[np.ndarray]:
        if self.broken:
            raise VoiceError("the voice process failed twice")
        self.texts.append(text)
        yield np.sin(np.arange(4800 * len(text.split())) * 0.1).astype(np.float32)

    def close(self) -> None: ...


def test_a_track_is_on_the_clock_of_its_commits() -> None:
    said = [(0, "One two three.", 2.0), (1, "Four five six.", 2.1), (2, "Bye.", 9.0)]
    chunks = list(speak_track(said, 9.0, Engine()))
    starts = [c.start_ns / 1e9 for c in chunks]
    assert [c.ids for c in chunks] == [(0,), (1,), (2,)]
    assert starts[0] == pytest.approx(2.0, abs=0.2)
    assert starts[2] == pytest.approx(9.0, abs=0.2)
    assert starts[1] >= starts[0] + len(chunks[0].samples) / RATE - 1e-6
    sound = joined(chunks, 12.0)
    assert len(sound) == 12 * RATE
    assert np.abs(sound[RATE : int(1.9 * RATE)]).max() < 0.002 < np.abs(sound[int(2.2 * RATE) : int(2.4 * RATE)]).max()


def voice_of(engine) -> tuple[Voice, list[SpeechChunk], list[str], threading.Event]:
    chunks, troubles, told = [], [], threading.Event()
    voice = Voice(chunks.append, lambda why: (troubles.append(why), told.set()), engine=engine)
    return voice, chunks, troubles, told


def test_a_voice_speaks_what_was_said_and_ends() -> None:
    engine = Engine()
    voice, chunks, troubles, _ = voice_of(engine)
    voice.say(0, "Please wait.")
    voice.say(1, "Thank you")
    voice.end()
    assert voice.join(20)
    assert " ".join(engine.texts) == "Please wait. Thank you"
    assert [c.ids for c in chunks] == [(0,), (1,)]
    assert chunks[1].start_ns >= chunks[0].start_ns + len(chunks[0].samples) * 1_000_000_000 // RATE
    assert not troubles


def test_a_voice_that_fails_says_so_and_say_still_does_not_block() -> None:
    voice, chunks, troubles, told = voice_of(Engine(broken=True))
    voice.say(0, "Please wait.")
    assert told.wait(20)
    assert troubles == ["the voice process failed twice"]
    voice.say(1, "Still here.")
    voice.close()
    assert chunks == []


def test_a_voice_that_failed_speaks_again_after_a_rest() -> None:
    clock, engine = MockClock(), Engine(broken=True)
    chunks, told = [], threading.Event()
    voice = Voice(chunks.append, lambda why: told.set(), engine=engine, clock=clock)
    voice.say(0, "Please wait.")
    assert told.wait(20)
    engine.broken = False
    clock.advance(round(REST_S * 1e9))
    voice.say(1, "Still here.")
    voice.end()
    assert voice.join(20)
    assert [c.ids for c in chunks] == [(1,)]


def test_a_text_that_cannot_be_said_does_not_end_the_voice(tmp_path: Path) -> None:
    engine = fake_engine("refuses-first", tmp_path)
    voice, chunks, troubles, _ = voice_of(engine)
    voice.say(0, "One two three.")
    voice.say(1, "Four five six.")
    voice.end()
    assert voice.join(20)
    engine.close()
    assert len(troubles) == 1 and "can't say 'One two three.'" in troubles[0]
    assert [c.ids for c in chunks] == [(1,)]


def test_closing_a_voice_ends_its_thread() -> None:
    voice, *_ = voice_of(Engine())
    voice.start()
    voice.close()
    assert voice.join(20)


FAKE = """
import json, os, struct, sys
H = struct.Struct("<cII"); out = sys.stdout.buffer
def send(kind, id, payload=b""):
    out.write(H.pack(kind, id, len(payload)) + payload); out.flush()
mode, state = sys.argv[1], sys.argv[2]
send(b"X", 0, b"no model") if mode == "unloadable" else send(b"R", 0)
for line in sys.stdin:
    request = json.loads(line)
    if mode == "dies" or (mode == "dies-once" and not os.path.exists(state)):
        open(state, "w").close(); os._exit(3)
    if mode == "refuses" or (mode == "refuses-first" and request["id"] == 1):
        send(b"X", request["id"], b"bad text"); continue
    send(b"S", request["id"], struct.pack("<4f", 0, .5, .5, 0)); send(b"E", request["id"])
"""


def fake_engine(mode: str, tmp_path: Path) -> VoiceProcess:
    return VoiceProcess([sys.executable, "-c", FAKE, mode, str(tmp_path / "state")])


def test_a_voice_process_that_dies_is_restarted_once_and_the_text_is_spoken(tmp_path: Path) -> None:
    engine = fake_engine("dies-once", tmp_path)
    (speech,) = engine.synthesise("hello", 1.0)
    assert speech.tolist() == [0, 0.5, 0.5, 0]
    engine.close()
    assert engine.pid is None


@pytest.mark.parametrize(
    ("mode", "says"), [("dies", "failed twice"), ("unloadable", "no model"), ("refuses", "can't say 'hello'")]
)
def test_a_voice_process_that_cannot_speak_is_a_typed_error(mode: str, says: str, tmp_path: Path) -> None:
    engine = fake_engine(mode, tmp_path)
    with pytest.raises(VoiceError, match=says):
        list(engine.synthesise("hello", 1.0))
    engine.close()
    with pytest.raises(VoiceError, match="closed"):
        list(engine.synthesise("hello", 1.0))


def test_an_engine_that_cannot_be_started_is_a_typed_error() -> None:
    with pytest.raises(VoiceError, match="can't be started"):
        list(VoiceProcess(["/nowhere/piper"]).synthesise("hello", 1.0))
    killed = VoiceProcess([sys.executable, "-c", "import os; os._exit(9)"])
    with pytest.raises(VoiceError, match="didn't get ready"):
        killed.start()
    assert killed.pid is None
    with pytest.raises(VoiceError, match="doesn't exist"):
        PiperEngine("/nowhere/voice.onnx")


def test_the_service_never_imports_the_gpl_engine() -> None:
    import subprocess

    code = "import sys, streamsvc.speech.interpret, streamsvc.speech.voice; sys.exit('piper' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_piper_speaks_at_48_khz_and_faster_when_asked() -> None:
    engine = PiperEngine()
    try:
        text = "Please leave your message after the tone."
        normal = np.concatenate(list(engine.synthesise(text, 1.0)))
        fast = np.concatenate(list(engine.synthesise(text, 1.25)))
    finally:
        engine.close()
    assert 1.2 * RATE < len(normal) < 4 * RATE
    assert len(fast) < 0.95 * len(normal)
    assert 0.05 < np.abs(normal).max() <= 1
    assert Clause((0,), text, 1.0, 0.1).text == text
