"""How large a JPEG is, from its headers alone: what is too large is never decoded (ITU-T T.81, annex B)."""

from __future__ import annotations

from streamsvc.calibrate.errors import CalibrationError

FRAMES = frozenset({0xC0, 0xC1, 0xC2})
"""Start of a frame: baseline, extended sequential, progressive; Huffman coded. Others are not in use."""

ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers without a length after them."""


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) in pixels as the first frame header says; raises CalibrationError (bad-picture)."""
    if data[:2] != b"\xff\xd8":
        raise CalibrationError("the picture is not a JPEG", "bad-picture")
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif marker in ALONE:
            at += 2
        elif marker in FRAMES and at + 9 <= len(data):
            height, width = (int.from_bytes(data[i : i + 2], "big") for i in (at + 5, at + 7))
            if width and height:
                return width, height
            break
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise CalibrationError("the picture is no JPEG that can be read", "bad-picture")
