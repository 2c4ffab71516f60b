"""Captions as files: SubRip, WebVTT and JSON, made of timed text. Cues are in order and don't overlap."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from streamsvc.errors import StreamsvcError

LINE = 42
CUE_CHARACTERS = 2 * LINE
CUE_MS = 6000.0
GAP_MS = 1500.0
SHORTEST_MS = 1000.0
FORMATS = (".srt", ".vtt", ".json")


class CaptionError(StreamsvcError):
    """A caption file that can't be written, or whose name says no known format."""


@dataclass(frozen=True, slots=True)
class TimedText:
    """Text over a half-open interval in ms, on whichever clock the captions go with."""

    text: str
    start_ms: float
    end_ms: float


def cues(texts: Iterable[TimedText]) -> list[TimedText]:
    """Join commits to cues of at most two lines and six seconds, ending with sentences and before pauses.

    A cue lasts `SHORTEST_MS` or more, in whole ms: what is over sooner shares one with what follows, and where both
    don't fit into one the latter begins later than it was spoken.
    """
    runs: list[list[TimedText]] = []
    for run in _sentences(texts):
        if runs and run[0].start_ms - runs[-1][0].start_ms < SHORTEST_MS and _fits(runs[-1], run):
            runs[-1] += run
        else:
            runs.append(run)
    joined: list[TimedText] = []
    for i, run in enumerate(runs):
        start = max(round(run[0].start_ms), joined[-1].end_ms if joined else 0.0)
        end = max(round(run[-1].end_ms), start + SHORTEST_MS)
        if i + 1 < len(runs):
            end = max(min(end, round(runs[i + 1][0].start_ms)), start + SHORTEST_MS)
        joined.append(TimedText(" ".join(w.text for w in run), float(start), float(end)))
    return joined


def _sentences(texts: Iterable[TimedText]) -> list[list[TimedText]]:
    """Return the words of each sentence, or of what fits into one cue."""
    runs: list[list[TimedText]] = []
    for text in texts:
        pieces = text.text.split()
        step = (text.end_ms - text.start_ms) / max(len(pieces), 1)
        for i, piece in enumerate(pieces):
            word = TimedText(piece, text.start_ms + i * step, text.start_ms + (i + 1) * step)
            if not runs or runs[-1][-1].text[-1] in ".?!" or not _fits(runs[-1], [word]):
                runs.append([])
            runs[-1].append(word)
    return runs


def _fits(run: list[TimedText], more: list[TimedText]) -> bool:
    """Is there room for `more` words in the cue of `run`?"""
    return (
        more[0].start_ms - run[-1].end_ms <= GAP_MS
        and sum(len(w.text) + 1 for w in run + more) - 1 <= CUE_CHARACTERS
        and more[-1].end_ms - run[0].start_ms <= CUE_MS
    )


def _lines(text: str) -> str:
    if len(text) <= LINE:
        return text
    # Break where the two lines are most alike in length.
    breaks = [i for i, c in enumerate(text) if c == " "]
    if not breaks:
        return text
    at = min(breaks, key=lambda i: abs(len(text) - 2 * i))
    return text[:at] + "\n" + text[at + 1 :]


def _clock(ms: float, comma: str) -> str:
    total = round(ms)
    return f"{total // 3_600_000:02}:{total // 60_000 % 60:02}:{total // 1000 % 60:02}{comma}{total % 1000:03}"


def srt(texts: Sequence[TimedText]) -> str:
    """Return a SubRip document."""
    blocks = [
        f"{n}\n{_clock(c.start_ms, ',')} --> {_clock(c.end_ms, ',')}\n{_lines(c.text)}\n"
        for n, c in enumerate(cues(texts), 1)
    ]
    return "\n".join(blocks)


def vtt(texts: Sequence[TimedText]) -> str:
    """Return a WebVTT document (W3C Recommendation track, 2019): `&` and `<` escaped, no arrow in the text."""
    blocks = ["WEBVTT\n"]
    for c in cues(texts):
        text = _lines(c.text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        blocks.append(f"{_clock(c.start_ms, '.')} --> {_clock(c.end_ms, '.')}\n{text}\n")
    return "\n".join(blocks)


def check_captions_path(path: Path) -> None:
    """Raise CaptionError unless the suffix is one that can be written."""
    if path.suffix not in FORMATS:
        raise CaptionError(f"captions {path}: the name must end with {', '.join(FORMATS)}")


def write_captions(path: Path, texts: Sequence[TimedText]) -> None:
    """Write captions in the format of the suffix: .srt, .vtt or .json (the texts as they are); raises CaptionError."""
    check_captions_path(path)
    document = {
        ".srt": lambda: srt(texts),
        ".vtt": lambda: vtt(texts),
        ".json": lambda: json.dumps({"v": 1, "captions": [asdict(t) for t in texts]}, indent=1, ensure_ascii=False),
    }[path.suffix]()
    try:
        path.write_text(document, "utf-8")
    except OSError as e:
        raise CaptionError(f"captions can't be written to {path} ({e})") from None
