"""The mixer: no word of the translation is lost, the original stays current, nothing clicks."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.frames import OUTPUT_RATE
from streamsvc.session.mixer import DUCKED, ORIGINAL_LIMIT, ORIGINAL_PREBUFFER, VoiceMixer


@given(st.lists(st.integers(0, 3000), max_size=12), st.integers(1, 2000))
def test_speech_comes_out_whole_and_in_order(sizes: list[int], step: int) -> None:
    mixer = VoiceMixer()
    said = [np.full(n, (i + 1) / 100, np.float32) for i, n in enumerate(sizes)]
    for block in said:
        mixer.speech(block)
    total = sum(sizes)
    out = np.concatenate([mixer.read(step) for _ in range(total // step + 1)])
    assert np.array_equal(out[:total], np.concatenate(said) if said else np.zeros(0))
    assert not out[total:].any()


def test_the_original_is_ducked_under_speech_and_comes_back_without_a_click() -> None:
    mixer = VoiceMixer()
    mixer.original(np.full(ORIGINAL_PREBUFFER, 0.5, np.float32))
    out = []
    for i in range(150):
        mixer.original(np.full(960, 0.5, np.float32))
        if 20 <= i < 60:
            mixer.speech(np.zeros(960, np.float32))
        out.append(mixer.read(960))
    sound = np.concatenate(out)
    assert (sound[:960] == np.float32(0.5)).all()
    assert np.allclose(sound[40 * 960 : 60 * 960], 0.5 * DUCKED)
    assert np.allclose(sound[-960:], 0.5)
    assert np.abs(np.diff(sound)).max() < 0.001


def test_an_original_that_runs_ahead_is_skipped_to_stay_current() -> None:
    mixer = VoiceMixer()
    for i in range(50):
        mixer.original(np.full(960, i / 100, np.float32))
    backlog = mixer.read(2 * ORIGINAL_LIMIT)
    assert 0 < np.count_nonzero(backlog) <= ORIGINAL_LIMIT and backlog.max() > 0.4


def test_speech_that_waits_to_be_heard_is_counted() -> None:
    mixer = VoiceMixer()
    mixer.speech(np.zeros(OUTPUT_RATE, np.float32))
    mixer.read(OUTPUT_RATE // 4)
    assert mixer.waiting_s == 0.75
    mixer.skip()
    assert mixer.waiting_s == 0


def test_a_muted_original_fades_out() -> None:
    mixer = VoiceMixer()
    mixer.set_original_gain(0.0)
    for _ in range(30):
        mixer.original(np.full(960, 0.5, np.float32))
        last = mixer.read(960)
    assert not last[-100:].any()


def block(level: float) -> np.ndarray:
    return np.full(960, level, np.float32)


def test_an_original_whose_packets_have_jitter_has_no_holes() -> None:
    mixer = VoiceMixer()
    heard = []
    # How many 20 ms packets came before each read: every other one is 20 ms late.
    for i in range(100):
        for _ in range(2 if i % 2 else 0):
            mixer.original(block(0.5))
        heard.append(mixer.read(960))
    sound = np.concatenate(heard)
    assert not sound[:960].any()
    assert (sound[960:] == np.float32(0.5)).all()


def test_after_an_underrun_the_original_is_gathered_before_it_plays_again() -> None:
    mixer = VoiceMixer()
    mixer.original(np.full(ORIGINAL_PREBUFFER - 1, 0.5, np.float32))
    assert not mixer.read(960).any()
    mixer.original(np.full(1, 0.5, np.float32))
    assert (mixer.read(960) == np.float32(0.5)).all()
    last = mixer.read(960)
    assert (last[: ORIGINAL_PREBUFFER - 960] == np.float32(0.5)).all() and not last[ORIGINAL_PREBUFFER - 960 :].any()
    mixer.original(block(0.5))
    assert not mixer.read(960).any()
    mixer.original(block(0.5))
    assert all((mixer.read(960) == np.float32(0.5)).all() for _ in range(2))


def test_speech_waits_for_nothing() -> None:
    mixer = VoiceMixer()
    mixer.original(block(0.5))
    mixer.speech(np.full(100, 0.25, np.float32))
    out = mixer.read(960)
    assert (out[:100] == np.float32(0.25)).all() and not out[100:].any()
