"""Choose recorded prompts that the default model understands, and write streamsvc/scene/clips.json.

    python models/choose_clips.py [--model DIR] [--seconds 75]

A prompt is chosen when its offline translation (whole clip, beam 5) has chrF >= 75 against the English prompt of the
same id and its streamed translation (the default policy, 1 s frames) has chrF >= 60, when it has at least four words,
and when it isn't nearly a prompt that was chosen before. Best first, until there are `--seconds` of each language.
Deterministic; run once, its result is committed: ids and English references, the recordings stay in their packages.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import sacrebleu

from streamsvc.budget.slices import run_to_end
from streamsvc.errors import StreamsvcError
from streamsvc.frames.audio import SPEECH_RATE, Samples
from streamsvc.scene.assets import asset
from streamsvc.scene.talk import texts
from streamsvc.speech import Commit, Interpreter, InterpretSettings, Translator
from streamsvc.speech.model import Whisper
from streamsvc.speech.soundfile import read_speech
from streamsvc.speech.text import ratio

LANGUAGES = ("es", "fr")
OFFLINE = 75.0
STREAMED = 60.0
MIN_WORDS = 4
LONGEST_S = 15.0
ALIKE = 0.85
OUT = Path(__file__).resolve().parent.parent / "streamsvc" / "scene" / "clips.json"


def offline(model: Translator, audio: Samples, language: str) -> str:
    """Translate a whole clip."""
    hypothesis = model.decode(model.encode(audio, final=True), language, beam=5, timestamps=False)
    return " ".join(w.text for w in hypothesis.words)


def streamed(model: Translator, audio: Samples, language: str) -> str:
    """Translate a clip with the default policy, as if compute took no time."""
    interpreter = Interpreter(model, InterpretSettings(source=language))
    said: list[str] = []

    def work() -> None:
        while (due := interpreter.next_pass()) is not None:
            events = interpreter.finish(due, run_to_end(due.slices()))
            said.extend(e.text for e in events if isinstance(e, Commit))

    for at in range(0, len(audio), 1600):
        interpreter.feed(audio[at : at + 1600])
        work()
    interpreter.end()
    work()
    return " ".join(said)


def chrf(hypothesis: str, reference: str) -> float:
    """Return sentence chrF, 0 to 100."""
    return float(sacrebleu.sentence_chrf(hypothesis, [reference]).score)


def choose(model: Translator, language: str, seconds: float) -> list[dict[str, Any]]:
    """Return the chosen clips of a language, best first."""
    english, found = texts("en"), []
    for name, text in sorted(texts(language).items()):
        reference = english.get(name, "")
        wav = Path(asset(f"speech/{language}")) / f"{name}.wav"
        if not text or len(reference.split()) < MIN_WORDS or "[" in reference + text or not wav.is_file():
            continue
        audio = read_speech(wav)
        if len(audio) > LONGEST_S * SPEECH_RATE:
            continue
        score = chrf(offline(model, audio, language), reference)
        live = chrf(streamed(model, audio, language), reference) if score >= OFFLINE else 0.0
        if live >= STREAMED:
            length = round(len(audio) / SPEECH_RATE, 2)
            found.append({"id": name, "english": reference, "seconds": length, "offline": score, "streamed": live})
            print(f"{language} {name}: offline {score:.0f}, streamed {live:.0f}, {length} s", flush=True)
    chosen: list[dict[str, Any]] = []
    for clip in sorted(found, key=lambda c: -min(c["offline"], c["streamed"])):
        if sum(c["seconds"] for c in chosen) >= seconds:
            break
        if all(ratio(clip["english"].lower(), c["english"].lower()) < ALIKE for c in chosen):
            chosen.append({**clip, "offline": round(clip["offline"], 1), "streamed": round(clip["streamed"], 1)})
    return chosen


def main() -> int:
    """Measure, choose and write; return the exit status."""
    parser = argparse.ArgumentParser(description="Choose recorded prompts that the default model understands.")
    parser.add_argument("--model")
    parser.add_argument("--seconds", type=float, default=75.0)
    arguments = parser.parse_args()
    try:
        model = Whisper(arguments.model, progress=print)
        document = {"model": model.name, **{lang: choose(model, lang, arguments.seconds) for lang in LANGUAGES}}
    except StreamsvcError as e:
        print(f"choose_clips: {e}", file=sys.stderr)
        return 2
    OUT.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    for language in LANGUAGES:
        print(f"{language}: {len(document[language])} clips, {sum(c['seconds'] for c in document[language]):.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
