"""The ring and the link: pictures cross without a copy, slots come back, messages survive any fragmentation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.frames import link
from streamsvc.frames.ring import Ring, RingError, Slots


def test_what_one_mapping_writes_the_other_reads() -> None:
    ours = Ring.create()
    theirs = Ring(ours.fd)
    ours.pixels(3, 320, 240)[:] = 77
    assert (theirs.pixels(3, 320, 240) == 77).all()
    assert not theirs.pixels(4, 320, 240).any()


def test_a_picture_larger_than_a_slot_or_a_foreign_slot_is_refused() -> None:
    ring = Ring.create()
    with pytest.raises(RingError, match="does not fit"):
        ring.pixels(0, 4096, 4096)
    with pytest.raises(RingError, match="no slot"):
        ring.pixels(10_000, 10, 10)


def test_slots_are_taken_all_or_none_and_a_double_release_does_no_harm() -> None:
    slots = Slots(range(3))
    first = slots.take(2)
    assert first is not None and len(set(first)) == 2
    assert slots.take(2) is None
    slots.give(first)
    slots.give(first)
    slots.give([99])
    assert slots.statistics().free == 3 and slots.statistics().refused == 1


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(1, 64))
def test_messages_survive_any_fragmentation(ids: list[int], chunk: int) -> None:
    messages = [link.SetIn(stream="s", id=i, capture_ns=1, deadline_ns=2, period_ns=3, pictures=[]) for i in ids]
    data = b"".join(link.encode(m) for m in messages)
    unframer = link.Unframer()
    out = []
    for at in range(0, len(data), chunk):
        out += [link.decode_to_worker(body) for body in unframer.feed(data[at : at + chunk])]
    assert out == messages


def test_arrays_of_sound_and_text_come_back_as_they_were() -> None:
    samples = np.arange(5, dtype="<f4").tobytes()
    message = link.SoundOut(stream="s", ids=[1, 2], samples=samples)
    (body,) = link.Unframer().feed(link.encode(message))
    assert link.decode_from_worker(body) == message


def test_a_length_beyond_the_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        list(link.Unframer().feed(b"\xff\xff\xff\xff"))
