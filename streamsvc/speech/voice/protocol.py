"""The pipe between a voice program and the service, and the program's side of it.

In: one JSON object a line, `{"id", "text", "rate", "voice"}`. Out: frames of `<cII` (kind, id, payload bytes) and the
payload: `R` ready; `S` speech, float32 little-endian 48 kHz mono, one a sentence as each is synthesised; `E` end of
this id; `X` error, UTF-8. A program ends with its standard input.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable, Iterable
from typing import Any

import av
import numpy as np

from streamsvc.frames.audio import OUTPUT_RATE, Samples

HEADER = struct.Struct("<cII")
MAX_PAYLOAD = 64 << 20

Say = Callable[[dict[str, Any]], Iterable[Samples]]
"""Takes a request, gives its speech at 48 kHz, sentence by sentence."""


def serve(load: Callable[[], Say]) -> None:
    """Answer requests until standard input ends; what loading or speaking raises is sent as an error."""
    # What libraries print must not get into the frames.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def send(kind: bytes, id: int, payload: bytes = b"") -> None:
        out.write(HEADER.pack(kind, id, len(payload)) + payload)
        out.flush()

    try:
        say = load()
    except Exception as e:  # whatever it is, the service has to hear of it
        send(b"X", 0, f"{type(e).__name__}: {e}".encode())
        return
    send(b"R", 0)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            for speech in say(request):
                send(b"S", request["id"], speech.astype("<f4").tobytes())
        except Exception as e:
            send(b"X", request["id"], f"{type(e).__name__}: {e}".encode())
        else:
            send(b"E", request["id"])


def open_session(model: str | bytes) -> Any:
    """Load an ONNX model on one thread; by default it would take all cores. The same texts sound the same each time:
    voices draw their prosody at random."""
    import onnxruntime

    engine: Any = onnxruntime
    engine.set_seed(1)
    options = engine.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return engine.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def resampled(speech: Samples, rate: int) -> Samples:
    """Return float32 mono `speech` at 48 kHz (libswresample's polyphase filter)."""
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(speech[None], np.float32), format="flt", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler(format="flt", layout="mono", rate=OUTPUT_RATE)
    parts = [f.to_ndarray()[0] for f in (*resampler.resample(frame), *resampler.resample(None))]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
