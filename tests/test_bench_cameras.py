"""`bench cameras`: what Chromium sends of several cameras."""

import pytest

from streamsvc.bench.cameras import rows, table

SIZE = (640, 480)


def sample(second: int, frames: int, size: tuple[int, int] = SIZE, limit: str = "none") -> list[dict[str, object]]:
    width, height = size
    one = {"at": 1000.0 * second, "bytes": 125_000 * second, "width": width, "height": height, "limit": limit}
    return [{"id": "first", "frames": 30 * second, **one}, {"id": "second", "frames": frames, **one}]


def test_rates_are_of_all_the_time_and_of_the_worst_five_seconds() -> None:
    slow = [0, 30, 60, 70, 80, 90, 100, 110, 140, 170, 200]
    first, second = rows("ours", [sample(s, n) for s, n in enumerate(slow)], SIZE)
    assert (first.fps, first.least_fps, first.full_size) == (30, 30, 1)
    assert first.mbps == pytest.approx(1.0)
    assert (second.fps, second.least_fps) == (20, 10)


def test_what_was_shrunk_and_why_is_told() -> None:
    samples = [sample(s, 30 * s) for s in range(7)] + [sample(s, 30 * s, (320, 240), "bandwidth") for s in (7, 8)]
    (first, _) = found = rows("stock", samples, SIZE)
    assert (first.full_size, first.bandwidth, first.cpu) == (0.75, 0.25, 0)
    lines = list(table(found))
    assert len(lines) == 3 and "75%" in lines[1] and lines[1].startswith("stock")
