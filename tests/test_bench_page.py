"""`bench page`: what the page costs a picture, and what grew."""

import dataclasses

import pytest

from streamsvc.bench.page import PageSample, summary, table

START = PageSample(
    t_s=0, heap_mib=4, renderer_mib=200, nodes=900, listeners=100, shown=100, captions=3, task_s=2, script_s=1
)


def samples(count: int, leak_mib: float) -> list[PageSample]:
    """Caches fill in the first third; after it only what leaks grows."""
    return [
        dataclasses.replace(
            START,
            t_s=60 * i,
            heap_mib=4 + min(i, count // 3) + leak_mib * max(i - count // 3, 0),
            shown=100 + 1200 * i,
            task_s=2 + 6 * i,
            script_s=1 + 1.2 * i,
            captions=3 + 10 * i,
        )
        for i in range(count)
    ]


@pytest.mark.parametrize(("leak", "grown"), [(0, 0), (0.5, 10)])
def test_growth_is_what_comes_after_the_caches_are_full(leak: float, grown: float) -> None:
    found = summary(samples(31, leak))
    assert found["heap_mib"] == pytest.approx(grown)
    assert found["task_ms"] == pytest.approx(5) and found["script_ms"] == pytest.approx(1)
    assert found["fps"] == pytest.approx(20)
    assert (found["nodes"], found["captions"]) == (0, 200)


def test_the_table_shows_the_course_and_what_it_comes_to() -> None:
    lines = list(table(samples(31, 0.5)))
    assert len(lines) == 1 + 11 + 2
    assert "5.00 ms a picture" in lines[-2] and "heap +10.0 MiB" in lines[-1]
