"""Pitch of a speaker and the voice that matches it: YIN on known sound, one choice a call, voices measured once."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsvc.budget import MonotonicClock
from streamsvc.frames.link import ConfigureSpeech, OpenSpeech, SoundIn
from streamsvc.scene.assets import asset
from streamsvc.speech import pitch
from streamsvc.speech.errors import VoiceError
from streamsvc.speech.fake import FakeTranslator
from streamsvc.speech.pitch import ENOUGH_S, FRAME, HOP, SOON_S, WINDOW, PitchMeter, _difference, fundamentals
from streamsvc.speech.soundfile import read_speech
from streamsvc.speech.voice import KokoroEngine, MatchedVoice, PiperEngine, VoiceSet, installed, open_voice, open_voices
from streamsvc.speech.voice.kokoro import GOOD, LONGEST, numbered
from streamsvc.speech.voice.kokoro_process import pieces
from streamsvc.speech.voice.matching import STAY, choose, pitch_of
from streamsvc.worker.lanes import Lanes
from streamsvc.worker.speakers import Speakers
from streamsvc.worker.warm import voices_of


def voiced(hz: float, seconds: float, rate: int = 16_000) -> np.ndarray:
    """Return a buzz with twelve harmonics that fall off as a voice's do."""
    at = np.arange(round(seconds * rate)) / rate
    return (0.1 * sum(np.sin(2 * np.pi * hz * k * at + k) / k for k in range(1, 13))).astype(np.float32)


def semitones(a: float, b: float) -> float:
    return abs(12 * np.log2(a / b))


@pytest.mark.parametrize("hz", [65, 98, 147, 210, 330, 390])
def test_a_buzz_has_its_pitch_in_every_frame(hz: float) -> None:
    found = fundamentals(voiced(hz, 0.5))
    assert len(found) == (8000 - FRAME) // HOP + 1
    assert np.all(np.abs(found / hz - 1) < 0.005)


def test_noise_silence_and_too_little_sound_have_none() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 16_000).astype(np.float32)
    assert np.isnan(fundamentals(noise)).mean() > 0.99
    assert np.isnan(fundamentals(np.zeros(16_000, np.float32))).all()
    assert np.isnan(fundamentals(voiced(120, 0.5) * 1e-3)).all(), "a voice too faint to hear"
    assert len(fundamentals(np.zeros(FRAME - 1, np.float32))) == 0


def test_a_buzz_in_noise_is_still_heard() -> None:
    noise = np.random.default_rng(1).normal(0, 0.01, 16_000).astype(np.float32)
    assert semitones(float(np.nanmedian(fundamentals(voiced(180, 1.0) + noise))), 180) < 0.2


def test_the_difference_function_is_the_papers() -> None:
    frame = np.random.default_rng(2).normal(size=(1, FRAME))
    fast = _difference(frame)[0]
    slow = [np.sum((frame[0, :WINDOW] - frame[0, lag : lag + WINDOW]) ** 2) for lag in range(len(fast))]
    assert np.allclose(fast, slow)


@pytest.mark.parametrize(("language", "lowest", "highest"), [("es", 170, 260), ("fr", 160, 260)])
def test_recorded_women_are_as_high_as_women_are(language: str, lowest: float, highest: float) -> None:
    meter = PitchMeter()
    meter.feed(read_speech(asset(f"speech/{language}/agent-user.wav")))
    assert meter.hz is not None
    assert lowest < meter.hz < highest


@settings(max_examples=15)
@given(st.lists(st.integers(1, 9000), min_size=1, max_size=20))
def test_a_meter_hears_the_same_in_any_blocks(sizes: list[int]) -> None:
    sound = np.concatenate([voiced(110, 1.5), voiced(160, 1.0)])
    meter, at = PitchMeter(), 0
    for size in itertools.cycle(sizes):
        meter.feed(sound[at : at + size])
        at += size
        if at >= len(sound):
            break
    assert meter.hz is not None
    assert semitones(meter.hz, 110) < 0.2


def test_a_meter_says_nothing_soon_and_listens_no_longer_than_it_must() -> None:
    meter = PitchMeter()
    meter.feed(voiced(110, SOON_S * 0.9))
    assert meter.hz is None
    meter.feed(voiced(110, ENOUGH_S + 0.5))
    assert meter.complete
    meter.feed(voiced(300, 30))
    assert meter.hz is not None and semitones(meter.hz, 110) < 0.2


def test_a_meter_needs_no_more_memory_for_a_whole_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    def counted(samples: np.ndarray) -> np.ndarray:
        lengths.append(len(samples))
        return fundamentals(samples)

    monkeypatch.setattr(pitch, "fundamentals", counted)
    meter = PitchMeter()
    meter.feed(np.concatenate([np.zeros(5 * 16_000, np.float32), voiced(110, 10), voiced(300, 60)]))
    assert meter.complete and meter.hz is not None and semitones(meter.hz, 110) < 0.2
    assert max(lengths) < 1.1 * 16_000 and sum(lengths) < (5 + ENOUGH_S + 2) * 16_000


VOICES = {"low": 95.0, "middle": 150.0, "high": 210.0}


def test_the_nearest_voice_is_nearest_in_semitones() -> None:
    assert choose(119, VOICES, None) == "low"  # 3.9 semitones from 95, 4.0 from 150
    assert choose(121, VOICES, None) == "middle"
    assert choose(500, VOICES, None) == "high"


def test_the_voice_that_speaks_stays_unless_another_is_nearer_by_far() -> None:
    border = np.sqrt(150 * 210)
    higher = border * 2 ** ((STAY - 0.1) / 24)
    assert choose(higher, VOICES, None) == "high"
    assert choose(higher, VOICES, "middle") == "middle"
    assert choose(border * 2 ** ((STAY + 0.1) / 24), VOICES, "middle") == "high"


class Buzz:
    """An engine that says a buzz; `said` counts its texts."""

    def __init__(self, hz: float) -> None:
        self.hz, self.said, self.started, self.closed = hz, 0, 0, 0

    def start(self) -> None:
        self.started += 1

    def synthesise(self, text: str, rate: float) -> Iterator[np.ndarray]:
        self.said += 1
        yield voiced(self.hz, 0.4, 48_000)

    def close(self) -> None:
        self.closed += 1


def voice_set(folder: Path) -> VoiceSet:
    return VoiceSet({name: Buzz(hz) for name, hz in VOICES.items()}, folder / "voices" / "pitch.json")


def test_voices_are_measured_once_and_remembered(tmp_path: Path) -> None:
    first, second = voice_set(tmp_path), voice_set(tmp_path)
    first.start()
    assert {n: round(hz) for n, hz in first.pitches.items()} == VOICES
    second.start()
    assert second.pitches == first.pitches
    assert [e.said for e in second.engines.values()] == [0, 0, 0]
    assert [e.started for e in second.engines.values()] == [1, 1, 1]


def test_a_voice_that_is_new_is_measured_and_the_others_are_not(tmp_path: Path) -> None:
    known = tmp_path / "pitch.json"
    known.write_text(json.dumps({"low": 95.0, "gone": 300.0}))
    voices = VoiceSet({"low": Buzz(95), "high": Buzz(210)}, known)
    voices.start()
    assert voices.pitches == {"low": 95.0, "high": pytest.approx(210, rel=0.01)}
    assert json.loads(known.read_text()).keys() == {"low", "gone", "high"}
    assert voices.engines["low"].said == 0


@pytest.mark.parametrize("text", ["", "[1]", '{"low": "deep"}'])
def test_damaged_pitches_say_what_to_do(text: str, tmp_path: Path) -> None:
    known = tmp_path / "pitch.json"
    known.write_text(text)
    with pytest.raises(VoiceError, match="delete it"):
        VoiceSet({"low": Buzz(95)}, known).start()


def test_pitches_that_cannot_be_kept_cost_no_voice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "voices").write_text("a file where the folder would be")
    voices = voice_set(tmp_path)
    voices.start()
    assert {n: round(hz) for n, hz in voices.pitches.items()} == VOICES
    assert "can't be kept" in caplog.text


def test_voices_that_cannot_be_matched_are_not_left_running(tmp_path: Path) -> None:
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "pitch.json").write_text("[1]")
    voices = voice_set(tmp_path)
    with pytest.raises(VoiceError, match="delete it"):
        voices.start()
    assert [(e.started, e.closed) for e in voices.engines.values()] == [(1, 1)] * 3


def test_a_voice_without_a_pitch_is_a_typed_error() -> None:
    class Mute(Buzz):
        def synthesise(self, text: str, rate: float) -> Iterator[np.ndarray]:
            yield np.zeros(48_000, np.float32)

    with pytest.raises(VoiceError, match="by name"):
        pitch_of(Mute(0))


def spoken_in(voice: MatchedVoice, voices: VoiceSet) -> str:
    """Say a text and return who said it."""
    before = {n: e.said for n, e in voices.engines.items()}
    assert len(list(voice.synthesise("Good evening.", 1.0))) == 1
    (name,) = [n for n, e in voices.engines.items() if e.said > before[n]]
    assert voice.name == name
    return name


def test_a_call_has_the_voice_nearest_to_its_speaker_and_keeps_it(tmp_path: Path) -> None:
    voices = voice_set(tmp_path)
    voices.start()
    voice = voices.matched()
    assert voice.name is None
    voice.hear(voiced(205, ENOUGH_S + 1))
    assert spoken_in(voice, voices) == "high"
    voice.hear(voiced(95, 20))
    assert spoken_in(voice, voices) == "high", "somebody else at the same microphone"
    other = voices.matched()
    other.hear(voiced(100, ENOUGH_S + 1))
    assert spoken_in(other, voices) == "low", "every call has its own"


def test_first_words_are_in_the_likeliest_voice_and_it_is_decided_once_for_good(tmp_path: Path) -> None:
    voices = voice_set(tmp_path)
    voices.start()
    voice = voices.matched()
    assert spoken_in(voice, voices) == "low", "nothing was heard: the first"
    guessed = voices.matched()
    guessed.hear(voiced(150, SOON_S + 0.5))
    assert spoken_in(guessed, voices) == "middle"
    guessed.hear(voiced(205, ENOUGH_S - SOON_S - 0.8))
    assert spoken_in(guessed, voices) == "middle", "not enough is known to change"
    guessed.hear(voiced(205, 2))
    assert spoken_in(guessed, voices) == "high"
    guessed.hear(voiced(95, 20))
    assert spoken_in(guessed, voices) == "high"


def test_a_speaker_may_choose_a_voice_in_mid_call_and_leave_it_to_the_match_again(tmp_path: Path) -> None:
    voices = voice_set(tmp_path)
    voices.start()
    voice = voices.matched()
    voice.hear(voiced(205, ENOUGH_S + 1))
    assert spoken_in(voice, voices) == "high"
    voice.choose("low")
    assert spoken_in(voice, voices) == "low"
    voice.hear(voiced(205, 5))
    assert spoken_in(voice, voices) == "low", "whatever is heard"
    voice.choose("auto")
    assert spoken_in(voice, voices) == "high"


def test_closing_a_matched_voice_closes_them_all(tmp_path: Path) -> None:
    voices = voice_set(tmp_path)
    voices.matched().close()
    assert [e.closed for e in voices.engines.values()] == [1, 1, 1]


def test_a_workers_speakers_are_each_matched_or_have_the_voice_of_their_choice(tmp_path: Path) -> None:
    voices = voice_set(tmp_path)
    voices.start()
    clock = MonotonicClock()
    speakers = Speakers(FakeTranslator(), voices_of(voices), Lanes(1, clock), clock, lambda _: None)
    matched = {}
    for stream, hz in (("ana", 215.0), ("bert", 90.0), ("cleo", 215.0)):
        speakers.open(OpenSpeech(stream=stream, source="es", voice="middle" if stream == "cleo" else "auto"))
        matched[stream] = speakers._speakers[stream]._voice._engine
        sound = voiced(hz, ENOUGH_S + 1).astype("<f4")
        for at in range(0, len(sound), 1600):
            speakers.sound(SoundIn(stream=stream, samples=sound[at : at + 1600].tobytes(), end_ns=clock.now_ns()))
    assert [spoken_in(matched[s], voices) for s in ("ana", "bert", "cleo")] == ["high", "low", "middle"]
    speakers.configure(ConfigureSpeech(stream="cleo", voice="low"))
    assert spoken_in(matched["cleo"], voices) == "low"
    speakers.close_all()


def test_only_voices_that_are_installed_are_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STREAMSVC_CACHE", str(tmp_path))
    assert installed.installed_voices() == ("joe",)
    with pytest.raises(VoiceError, match=r"af_heart isn't installed .*installed: joe"):
        open_voice("af_heart")
    assert list(open_voices().engines) == ["joe"], "one voice is chosen from as well as many"
    assert isinstance(open_voice("joe"), PiperEngine)


def test_the_voices_to_match_are_the_good_ones_and_any_can_be_named() -> None:
    assert installed.voices_to_match() == ("joe", *sorted(GOOD))
    assert isinstance(open_voice("auto"), MatchedVoice)
    assert isinstance(open_voice("am_onyx"), KokoroEngine)


def test_what_the_model_cannot_take_at_once_is_said_in_parts() -> None:
    symbols = [len(p) for p in pieces("One two. Three? " + "four five " * 100, lambda text: [1] * len(text))]
    assert symbols[:2] == [8, 6]
    assert max(symbols) <= LONGEST
    assert sum(symbols) > 990
    assert list(pieces("...", lambda _: [])) == []
    with pytest.raises(ValueError, match="600 letters"):
        list(pieces("x" * 600, lambda text: [1] * len(text)))


def test_phonemes_are_numbered_and_unknown_symbols_left_out() -> None:
    assert numbered("həlˈO ☃wˈɜɹld!") == [50, 83, 54, 156, 31, 16, 65, 156, 87, 123, 54, 46, 5]
