"""The interpret command: events on a virtual and a real clock, captions, instances, and what it refuses."""

from __future__ import annotations

import json
import wave
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from streamsvc.budget.slices import run_to_end
from streamsvc.frames.captions import CUE_CHARACTERS, CaptionError, TimedText, cues, srt, vtt
from streamsvc.speech.errors import AudioError, PolicyError, SpeechError, VoiceError
from streamsvc.speech.events import InterpretSettings
from streamsvc.speech.fake import FakeDetector, FakeTranslator, speak
from streamsvc.speech.interpret import interpret, read_reference, run_asap, run_realtime
from streamsvc.speech.interpreter import Interpreter
from streamsvc.speech.soundfile import read_speech
from streamsvc.speech.voice import MatchedVoice, VoiceSet

RATE = 16_000


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * RATE), np.float32)


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(np.repeat((samples * 32767).astype("<i2"), channels).tobytes())
    return path


def interpreter(**keywords) -> Interpreter:
    return Interpreter(FakeTranslator(), InterpretSettings(**keywords), FakeDetector())


class Engine:
    """Speaks each word as 0.3 s of a tone."""

    def __init__(self, fails: bool = False) -> None:
        self.fails, self.texts = fails, []

    def start(self) -> None: ...

    def synthesise(self, text, rate):
        if self.fails:
            raise VoiceError("the voice process failed twice")
        self.texts.append(text)
        count = int(0.3 * len(text.split()) * 48_000 / rate)
        yield np.sin(np.arange(count, dtype=np.float32) * 0.05) * np.float32(0.3)

    def close(self) -> None: ...


@pytest.fixture
def talk_wav(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "talk.wav", np.concatenate([silence(0.5), speak(0, 12), silence(1.5), speak(12, 5)]))


def run(wav: Path, **keywords):
    """Interpret with the fakes; return the figures and the events."""
    events = wav.parent / "events.jsonl"
    fakes = {"engine": Engine(), "translator": FakeTranslator()}
    figures = interpret(wav, events=events, detector=FakeDetector(), **{**fakes, **keywords})
    return figures, [json.loads(line) for line in events.read_text().splitlines()]


def test_on_the_virtual_clock_a_pass_starts_when_its_sound_is_there_and_lasts_its_compute() -> None:
    clock = iter(np.arange(0, 1000, 0.25))  # every measurement is 0.25 s after the one before
    audio = np.concatenate([speak(0, 10), silence(1)])
    said = run_asap(interpreter(policy="greedy"), audio, lambda *_: None, measure=lambda: next(clock))
    first, wall = said.commits[0]
    assert wall == pytest.approx(first.audio_ms + 250, abs=41)
    assert said.compute_s == pytest.approx(0.25 * said.passes)


def test_on_the_virtual_clock_a_slow_model_makes_passes_wait_for_each_other() -> None:
    clock = iter(np.arange(0, 1000, 1.5))
    audio = np.concatenate([speak(0, 20), silence(1)])
    said = run_asap(interpreter(policy="greedy"), audio, lambda *_: None, measure=lambda: next(clock))
    walls = [wall for _, wall in said.commits]
    assert all(b - a >= 1500 - 1e-6 for a, b in pairwise(walls))
    assert " ".join(c.text for c, _ in said.commits).split() == [f"w{i}" for i in range(20)]


def test_in_real_time_sound_arrives_at_once_speed_and_nothing_is_lost() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    audio = np.concatenate([silence(0.3), speak(0, 12), silence(1)])
    said = run_realtime(interpreter(), audio, lambda *_: None, now=lambda: now[0], sleep=sleep)
    assert " ".join(c.text for c, _ in said.commits).split() == [f"w{i}" for i in range(12)]
    assert all(wall >= c.audio_ms - 1e-6 for c, wall in said.commits)
    assert now[0] == pytest.approx(len(audio) / RATE, abs=0.05)


def test_the_events_file_keeps_its_contract(talk_wav: Path) -> None:
    figures, events = run(talk_wav, speech=talk_wav.parent / "speech.wav")
    assert [e["type"] for e in events if e["type"] != "speech"] == ["commit"] * figures["commits"] + ["end"]
    end = 0.0
    for event in events:
        assert event["v"] == 1
        if event["type"] == "commit":
            assert set(event) == {
                *("v", "type", "id", "text", "source_start_ms", "source_end_ms"),
                *("audio_ms", "wall_ms", "policy", "confidence"),
            }
            assert end <= event["source_start_ms"] < event["source_end_ms"] <= event["audio_ms"] <= event["wall_ms"]
            end = event["source_end_ms"]
    times = [e.get("start_ms", e.get("wall_ms")) for e in events[:-1]]
    assert times == sorted(times)
    assert events[-1]["type"] == "end"


def test_speech_follows_its_commits_in_order_and_without_overlap(talk_wav: Path) -> None:
    engine = Engine()
    figures, events = run(talk_wav, engine=engine, speech=talk_wav.parent / "speech.wav")
    assert " ".join(engine.texts) == figures["text"]
    wall = {e["id"]: e["wall_ms"] for e in events if e["type"] == "commit"}
    speech = [e for e in events if e["type"] == "speech"]
    assert sorted({i for e in speech for i in e["ids"]}) == sorted(wall)
    for before, after in pairwise(speech):
        assert before["start_ms"] + before["duration_ms"] <= after["start_ms"] + 0.1
    assert all(e["start_ms"] >= wall[max(e["ids"])] for e in speech)
    with wave.open(str(talk_wav.parent / "speech.wav")) as out:
        assert (out.getframerate(), out.getnchannels()) == (48_000, 1)
        assert out.getnframes() / 48_000 >= figures["source_s"]


def test_captions_go_on_when_the_voice_fails(talk_wav: Path) -> None:
    figures, events = run(talk_wav, engine=Engine(fails=True), speech=talk_wav.parent / "speech.wav")
    assert "failed twice" in figures["trouble"]
    assert figures["words"] > 0
    assert events[-1]["type"] == "end"


def test_captions_and_instances_say_what_the_events_say(talk_wav: Path) -> None:
    out = talk_wav.parent
    for suffix in (".srt", ".vtt", ".json"):
        figures, _ = run(talk_wav, captions=out / f"c{suffix}", instances=out / "se", reference="w0 w1")
    captions = json.loads((out / "c.json").read_text())["captions"]
    assert " ".join(c["text"] for c in captions) == figures["text"]
    assert "-->" in (out / "c.srt").read_text()
    assert (out / "c.vtt").read_text().startswith("WEBVTT\n\n")
    (line,) = (out / "se/instances.log").read_text().splitlines()
    instance = json.loads(line)
    assert instance["prediction"] == figures["text"]
    assert len(instance["delays"]) == len(instance["elapsed"]) == instance["prediction_length"] == figures["words"]
    assert instance["reference"] == "w0 w1"
    assert instance["source_length"] == figures["source_s"] * 1000
    assert all(e >= d for d, e in zip(instance["delays"], instance["elapsed"], strict=True))
    assert "source_type: speech" in (out / "se/config.yaml").read_text()


def test_a_transcript_has_every_phrase_as_the_second_pass_hears_it(talk_wav: Path) -> None:
    out = talk_wav.parent
    figures, _ = run(
        talk_wav,
        policy="greedy",
        transcript=out / "t.json",
        captions=out / "c.json",
        translator=FakeTranslator(wide="indeed"),
    )
    said, corrected = (json.loads((out / f"{name}.json").read_text())["captions"] for name in "ct")
    assert "indeed" not in figures["text"] and len(corrected) < len(said)
    texts = [c["text"].replace(" indeed", "") for c in corrected]
    assert all("indeed" in c["text"] for c in corrected)
    assert " ".join(texts) == " ".join(c["text"] for c in said) == figures["text"]
    assert corrected[0]["start_ms"] == said[0]["start_ms"] and corrected[-1]["end_ms"] == said[-1]["end_ms"]


def test_a_reference_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpeechError, match="isn't UTF-8"):
        read_reference(tmp_path / "r.txt")
    with pytest.raises(SpeechError, match="can't be read"):
        read_reference(tmp_path / "none.txt")
    (tmp_path / "r.txt").write_text("press\n one\n")
    assert read_reference(tmp_path / "r.txt") == "press one"


def test_lags_are_measured_against_the_reference_or_the_output(talk_wav: Path) -> None:
    against, _ = run(talk_wav, reference="w0 w1")
    alone, _ = run(talk_wav)
    assert alone["lags"]["AL"] == alone["lags"]["LAAL"] == against["lags"]["LAAL"]
    assert against["lags"]["AL"] < against["lags"]["LAAL"]


def test_cues_are_short_in_order_and_lose_no_word() -> None:
    texts = [
        TimedText("word " * 30, 0, 14_000),
        TimedText("One. Two? three", 14_000, 14_900),
        TimedText("x", 30_000, 30_100),
    ]
    made = cues(texts)
    assert " ".join(c.text for c in made).split() == " ".join(t.text for t in texts).split()
    for before, after in pairwise(made):
        assert before.start_ms < before.end_ms <= after.start_ms
    assert max(len(c.text) for c in made) <= CUE_CHARACTERS
    assert made[-1].text == "x"


def test_subtitles_are_written_as_their_formats_want() -> None:
    texts = [TimedText("Fish & <chips>", 3_661_001, 3_662_500)]
    assert srt(texts) == "1\n01:01:01,001 --> 01:01:02,501\nFish & <chips>\n" or "01:01:02,500" in srt(texts)
    assert "Fish &amp; &lt;chips&gt;" in vtt(texts)
    assert "01:01:01.001 --> 01:01:02.5" in vtt(texts)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_of_any_rate_and_channels_is_read_as_16_khz_mono(tmp_path: Path, rate: int, channels: int) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    samples = read_speech(write_wav(tmp_path / "t.wav", tone, rate, channels))
    assert len(samples) == pytest.approx(RATE, abs=40)
    spectrum = np.abs(np.fft.rfft(samples[:RATE]))
    assert np.argmax(spectrum) == pytest.approx(440, abs=2)
    assert np.sqrt(np.mean(samples[2000:-2000] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.03)


def test_files_without_sound_are_refused_plainly(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file"):
        read_speech(tmp_path / "none.wav")
    (tmp_path / "empty.wav").write_bytes(b"")
    with pytest.raises(AudioError, match="is empty"):
        read_speech(tmp_path / "empty.wav")
    (tmp_path / "text.wav").write_text("this is not a sound file at all\n" * 20)
    with pytest.raises(AudioError, match="damaged or of another kind"):
        read_speech(tmp_path / "text.wav")
    with pytest.raises(AudioError, match="no samples"):
        read_speech(write_wav(tmp_path / "zero.wav", np.zeros(0)))


@pytest.mark.parametrize(
    ("keywords", "error", "says"),
    [
        ({"policy": "wait"}, PolicyError, "agreement, attention"),
        ({"parameters": {"n": 9}}, PolicyError, "from 2 to 5"),
        ({"source": "xx"}, SpeechError, "auto or one of"),
        ({"target": "de"}, SpeechError, "accepted: en"),
        ({"pace": "slow"}, SpeechError, "asap or realtime"),
        ({"captions": Path("c.txt")}, CaptionError, ".srt, .vtt, .json"),
        ({"engine": None, "voice": "/nowhere.onnx"}, VoiceError, "doesn't exist"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(talk_wav: Path, keywords, error, says: str) -> None:
    with pytest.raises(error, match=says):
        run(talk_wav, **keywords)
    assert not (talk_wav.parent / "events.jsonl").exists()


def test_an_events_path_that_cannot_be_written_is_said(talk_wav: Path) -> None:
    with pytest.raises(SpeechError, match="can't be written"):
        interpret(talk_wav, events=Path("/nowhere/e.jsonl"), translator=FakeTranslator(), detector=FakeDetector())


def test_silence_gives_an_empty_but_whole_result(tmp_path: Path) -> None:
    figures, events = run(write_wav(tmp_path / "s.wav", silence(3)), captions=tmp_path / "c.srt")
    assert figures["words"] == 0 and figures["mean_lag_ms"] is None
    assert [e["type"] for e in events] == ["end"]
    assert (tmp_path / "c.srt").read_text() == ""


def test_slices_run_to_their_end_give_a_result() -> None:
    it = interpreter()
    it.feed(speak(0, 5))
    due = it.next_pass()
    assert due is not None
    assert run_to_end(due.slices()).language == "es"


def test_in_real_time_the_live_voice_speaks_every_commit(tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "t.wav", np.concatenate([speak(0, 4), silence(0.2)]))
    engine = Engine()
    figures, events = run(wav, pace="realtime", engine=engine, speech=tmp_path / "s.wav")
    assert figures["text"].split() == " ".join(engine.texts).split() == ["w0", "w1", "w2", "w3"]
    assert {i for e in events if e["type"] == "speech" for i in e["ids"]} == set(range(figures["commits"]))
    assert events[-1]["type"] == "end"


@pytest.mark.parametrize("pace", ["asap", "realtime"])
def test_a_voice_that_is_matched_hears_the_speaker_of_the_recording(pace: str, tmp_path: Path) -> None:
    class Listening(MatchedVoice):
        heard = 0

        def hear(self, samples: np.ndarray) -> None:
            self.heard += len(samples)

    pitches = tmp_path / "pitch.json"
    pitches.write_text('{"low": 100, "high": 200}')
    voice = Listening(VoiceSet({"low": Engine(), "high": Engine()}, pitches))
    wav = write_wav(tmp_path / "talk.wav", np.concatenate([speak(0, 3), silence(0.2)]))
    figures, _ = run(wav, engine=voice, voice="auto", pace=pace)
    assert voice.heard == len(read_speech(wav))
    assert figures["voice"] == "low"
    assert figures["speech_s"] > 0
