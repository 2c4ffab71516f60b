"""Media profiles: which codec and bitrate a picture of a given size gets.

Start rates are modest and minima low, because what moves between them is the receiver's estimate (REMB); a raised cap
without that delivers nothing on a narrow link. The caps are what the size needs for 35 dB and more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Profile:
    """`codec` is the preferred one ("VP8" or "H264"); bitrates are bits per second; applies to at most `pixels`."""

    pixels: int
    codec: str
    min_bitrate: int
    start_bitrate: int
    max_bitrate: int
    fps: int = 30

    def clamp(self, bitrate: int) -> int:
        """Return `bitrate` inside this profile's bounds."""
        return max(self.min_bitrate, min(bitrate, self.max_bitrate))

    def raised(self, max_bitrate: int | None) -> Profile:
        """Return this profile with another upper bound, never under where it starts; None leaves it."""
        if max_bitrate is None:
            return self
        return replace(self, max_bitrate=max(max_bitrate, self.start_bitrate))


PROFILES = (
    Profile(160 * 120, "VP8", 60_000, 250_000, 600_000),
    Profile(320 * 240, "VP8", 100_000, 600_000, 1_500_000),
    Profile(640 * 480, "VP8", 200_000, 1_200_000, 3_000_000),
    Profile(1280 * 720, "VP8", 300_000, 2_000_000, 6_000_000),
    Profile(1920 * 1080, "H264", 500_000, 4_000_000, 9_000_000),
    Profile(2048 * 2048, "H264", 500_000, 6_000_000, 12_500_000),
)


def profile_for(width: int, height: int) -> Profile:
    """Return the smallest profile that holds a picture of `width` x `height` pixels (the largest for anything
    bigger)."""
    pixels = width * height
    return next((p for p in PROFILES if pixels <= p.pixels), PROFILES[-1])
