"""Which hardware encoder works on this machine: found by encoding a few pictures with it and decoding them again.

A driver that is tried may crash, hang, or write to the terminal, so each one is tried in a process of its own, whose
output nobody sees; what the machine has no device for is not tried at all. The child reads a `Candidate` as JSON from
stdin and writes its `Outcome` to stdout.
"""

from __future__ import annotations

import asyncio
import glob
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import av
import msgspec
import numpy as np
from av.video.frame import PictureType

from streamsvc.edge.avcontext import VIDEO_TIME_BASE
from streamsvc.edge.codecs import as_format, is_keyframe, nal_units
from streamsvc.edge.colour import to_rgb, to_yuv
from streamsvc.edge.errors import EdgeError
from streamsvc.edge.hardware import CANDIDATES, Candidate, Found, open_encoder, reason_of
from streamsvc.edge.rtpclock import VIDEO_RATE
from streamsvc.frames import Pixels

log = logging.getLogger(__name__)

PATIENCE_S = 15.0
WIDTH, HEIGHT, FPS = 640, 480, 30
BIT_RATE = 1_200_000
PICTURES = 8
ASKED = (0, 4)
"""The pictures of the trial that have to be keyframes."""

RETUNED = 6
"""From this one on half of the bit rate is asked for; a keyframe is allowed there."""

LARGEST_ERROR = 12.0
_BASELINE = 66
_SPS, _PPS = 7, 8

Opener = Callable[[Found, int, int, int, int], Any]


class Outcome(msgspec.Struct, frozen=True):
    """The input format with which an encoder works, or why it doesn't."""

    pixel_format: str | None = None
    why: str = ""


class Search(msgspec.Struct, frozen=True):
    """What works, and why those before it (all of them where nothing does) don't, by name."""

    found: Found | None
    refused: dict[str, str]

    def __str__(self) -> str:
        what = "none" if self.found is None else f"{self.found.candidate.name} ({self.found.candidate.title})"
        return "; ".join([what, *(f"{name}: {why}" for name, why in self.refused.items())])


class _TrialError(Exception):
    """What an encoder does that a call can't use."""


async def find(wanted: str, candidates: Sequence[Candidate] = CANDIDATES) -> Search:
    """Return what the setting `wanted` comes to here: "auto" the first candidate that works, "software" none, a name
    that one. Raises EdgeError("no-encoder") when a named one doesn't work."""
    named = wanted not in ("auto", "software")
    search = await first_working([c for c in candidates if wanted in ("auto", c.name)])
    if named and search.found is None:
        why = search.refused.get(wanted, "it is not known")
        raise EdgeError("no-encoder", f"the encoder {wanted} does not work here ({why}); auto or software does")
    return search


async def first_working(candidates: Sequence[Candidate]) -> Search:
    """Return the first of `candidates` that works."""
    refused: dict[str, str] = {}
    for candidate in candidates:
        why = await asyncio.to_thread(absent, candidate)
        if why is None:
            outcome = await _tried_apart(candidate)
            if outcome.pixel_format is not None:
                return Search(Found(candidate, outcome.pixel_format), refused)
            why = outcome.why
        refused[candidate.name] = why
    return Search(None, refused)


def absent(candidate: Candidate) -> str | None:
    """Return why a candidate is not worth a trial, None when it is."""
    try:
        av.codec.Codec(candidate.name, "w")
    except ValueError:
        return "this FFmpeg is built without it"
    if sys.platform != "linux" or not candidate.devices:
        return None
    nodes = [node for pattern in candidate.devices for node in sorted(glob.glob(pattern))]  # noqa: PTH207 absolute
    if not nodes:
        return f"no {' or '.join(candidate.devices)}"
    return None if any(os.access(n, os.R_OK | os.W_OK) for n in nodes) else f"no permission to open {nodes[0]}"


async def _tried_apart(candidate: Candidate) -> Outcome:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamsvc.edge.hardware_probe"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        answer, _ = await asyncio.wait_for(child.communicate(msgspec.json.encode(candidate)), PATIENCE_S)
        return msgspec.json.decode(answer, type=Outcome)
    except TimeoutError:
        return Outcome(why=f"it had not encoded {PICTURES} pictures after {PATIENCE_S:g} s")
    except msgspec.DecodeError:
        return Outcome(why=f"the process that tried it ended with {child.returncode}")
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


def probe(candidate: Candidate, opener: Opener = open_encoder) -> Outcome:
    """Try a candidate in this process, with each of its input formats in turn."""
    reasons = []
    for pixel_format in candidate.formats:
        try:
            _try(Found(candidate, pixel_format), opener)
        except Exception as error:  # a driver may raise anything, and then it doesn't work
            reasons.append(reason_of(error))
        else:
            return Outcome(pixel_format)
    return Outcome(why=" and ".join(dict.fromkeys(reasons)))


def _try(found: Found, opener: Opener) -> None:
    codec = opener(found, WIDTH, HEIGHT, BIT_RATE, FPS)
    if codec.options:  # what PyAV leaves there is what FFmpeg did not take
        raise _TrialError(f"FFmpeg's encoder has no option {', '.join(codec.options)}")
    pictures = [_picture(i) for i in range(PICTURES)]
    encoded = []
    for i, picture in enumerate(pictures):
        if found.candidate.retunes and i == RETUNED:
            codec.bit_rate = BIT_RATE // 2
        encoded.append(_one_out(codec, found, picture, i))
        _check_keyframe(encoded[-1], i)
    _check_decoded(encoded, pictures)


def _one_out(codec: Any, found: Found, picture: Pixels, i: int) -> bytes:
    frame = to_yuv(picture)
    frame.pts, frame.time_base = i * VIDEO_RATE // FPS, VIDEO_TIME_BASE
    frame.pict_type = PictureType.I if i in ASKED else PictureType.NONE
    packets = codec.encode(as_format(frame, found.pixel_format))
    if len(packets) != 1:
        raise _TrialError(f"{len(packets)} packets came out for picture {i + 1}, one is needed")
    if abs(packets[0].pts - frame.pts) > VIDEO_RATE // FPS // 2:
        raise _TrialError(f"what came out for picture {i + 1} is another picture: it holds some back")
    return bytes(packets[0])


def _check_keyframe(data: bytes, i: int) -> None:
    keyframe = is_keyframe("H264", data)
    if i not in ASKED:
        if keyframe and i < RETUNED:
            raise _TrialError(f"picture {i + 1} is a keyframe that nobody asked for")
        return
    units = {unit[0] & 0x1F: unit for unit in nal_units(data) if unit}
    if not keyframe or 5 not in units:
        raise _TrialError(f"picture {i + 1} is no keyframe though one was asked for")
    if _SPS not in units or _PPS not in units:
        raise _TrialError(f"keyframe {i + 1} comes without its parameter sets")
    if units[_SPS][1] != _BASELINE:
        raise _TrialError(f"the profile is {units[_SPS][1]}, where {_BASELINE} (baseline) is what was agreed")


def _check_decoded(encoded: Sequence[bytes], pictures: Sequence[Pixels]) -> None:
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    decoded = [frame for data in encoded for frame in decoder.decode(av.Packet(data))]
    decoded += decoder.decode(None)
    if len(decoded) != len(pictures):
        raise _TrialError(f"{len(decoded)} of {len(pictures)} pictures could be decoded")
    for i, (frame, picture) in enumerate(zip(decoded, pictures, strict=True)):
        if (frame.width, frame.height) != (WIDTH, HEIGHT):
            raise _TrialError(f"a picture of {WIDTH}x{HEIGHT} came back as {frame.width}x{frame.height}")
        error = float(np.abs(to_rgb(frame).astype(np.int16) - picture).mean())
        if error > LARGEST_ERROR:
            raise _TrialError(f"picture {i + 1} came back {error:.0f} steps off, {LARGEST_ERROR:g} are accepted")


def _picture(i: int) -> Pixels:
    """Return colours that slide to the right by 8 pixels a picture."""
    x = (np.arange(WIDTH) - 8 * i) * (2 * np.pi / WIDTH)
    row = 128 + 90 * np.sin(np.stack([x, 2 * x + 1, x + 2], -1))
    shade = np.linspace(0.6, 1.0, HEIGHT)[:, None, None]
    return np.ascontiguousarray((row[None] * shade).astype(np.uint8))


def main() -> None:
    """Try the candidate that comes on stdin; what its driver prints is kept away from the answer."""
    answer = os.dup(1)
    os.dup2(2, 1)
    av.logging.set_level(av.logging.ERROR)
    with av.logging.Capture(local=False) as said:
        outcome = probe(msgspec.json.decode(sys.stdin.buffer.read(), type=Candidate))
    if outcome.why and said:
        # FFmpeg says more there than its error codes do.
        reasons = dict.fromkeys(text.strip() for _, _, text in said)
        outcome = Outcome(why=f"{outcome.why} ({'; '.join(reasons)})"[:400])
    os.write(answer, msgspec.json.encode(outcome))


if __name__ == "__main__":
    main()
