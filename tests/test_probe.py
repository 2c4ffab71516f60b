"""The probe's parts: the card and its reading, from sightings to figures, sound, refusals, what is written."""

import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.cli import main
from streamsvc.edge import AudioOut
from streamsvc.frames import Samples
from streamsvc.ledger import read_ledger
from streamsvc.probe import PostOfferError, Probed, ProbeError, ProbeOptions
from streamsvc.probe.figures import _microphone, verdict
from streamsvc.probe.measure import (
    MS,
    Joined,
    Sighting,
    Stream,
    doubts,
    freezes,
    instant_of,
    join,
    skews_ms,
    stages,
    stream_of,
)
from streamsvc.probe.options import check
from streamsvc.probe.post_offer import post, takes_post
from streamsvc.probe.reading import CardReader, read_at
from streamsvc.probe.report import compare_table, table, write
from streamsvc.probe.sound import ChirpVoice, Ear, Onsets, Openings, chirp, first_heard
from streamsvc.probe.witness import Notes, luma
from streamsvc.scene import open_scene
from streamsvc.scene.card import CHECK_BITS, NUMBER_BITS, PERIOD_MS, ClockCard, number_of, word_of
from streamsvc.signalling.channels import FrameTrace

NS = 1_000_000_000
BUDGET = 100 * MS


# The card.


@given(st.integers(0, PERIOD_MS - 1))
def test_every_number_comes_back_from_its_word(number: int) -> None:
    assert number_of(word_of(number)) == number


@given(st.integers(0, PERIOD_MS - 1), st.sets(st.integers(0, NUMBER_BITS + CHECK_BITS - 1), min_size=1, max_size=3))
def test_up_to_three_wrong_blocks_are_noticed(number: int, flipped: set[int]) -> None:
    word = word_of(number)
    for bit in flipped:
        word ^= 1 << bit
    assert number_of(word) is None


def test_an_empty_card_is_no_number() -> None:
    assert number_of(0) is None
    assert number_of((1 << 32) - 1) is None


@pytest.fixture(scope="module")
def card() -> ClockCard:
    scene = open_scene("card")
    assert isinstance(scene, ClockCard)
    return scene


def test_a_picture_of_the_card_says_when_it_was_taken_and_is_the_same_every_time(card: ClockCard) -> None:
    rig = card.rig(2, 320, 240)
    for camera in rig.cameras:
        for t in (0.0, 12.345, 1048.575, 5000.001):
            seen = card.render(camera, t)
            assert np.array_equal(seen.rgb, card.render(camera, t).rgb)
            reading = CardReader().read(cv2.cvtColor(seen.rgb, cv2.COLOR_RGB2GRAY))
            assert reading is not None and reading.number == round(t * 1000) % PERIOD_MS
            assert np.abs(reading.corners - card.corners(camera)).max() < 2.5


def test_the_card_is_nearer_than_the_person_and_belongs_to_the_foreground(card: ClockCard) -> None:
    camera = card.rig(1, 320, 240).cameras[0]
    x, y = card.corners(camera).mean(0).round().astype(int)
    with_card, without = card.render(camera, 0.0), open_scene("body").render(camera, 0.0)
    assert with_card.depth[y, x] < without.depth[y, x] and with_card.alpha[y, x] == 1.0
    assert np.array_equal(with_card.rgb[:100], without.rgb[:100])


def test_the_card_survives_blur_noise_and_hard_coding(card: ClockCard) -> None:
    camera = card.rig(2, 320, 240).cameras[0]
    rng = np.random.default_rng(1)
    for i in range(40):
        grey = cv2.cvtColor(card.render(camera, i * 7.77).rgb, cv2.COLOR_RGB2GRAY)
        noisy = np.clip(cv2.GaussianBlur(grey, (0, 0), 1.8) + rng.normal(0, 12, grey.shape), 0, 255).astype(np.uint8)
        coded = cv2.imdecode(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], 0)
        reading = CardReader().read(np.asarray(coded, np.uint8))
        assert reading is not None and reading.number == round(i * 7770) % PERIOD_MS


def test_nothing_is_read_where_there_is_no_card(card: ClockCard) -> None:
    reader = CardReader()
    assert reader.read(cv2.cvtColor(open_scene("body").render(card.rig(1, 320, 240).cameras[0], 0.0).rgb, 6)) is None
    assert reader.read(np.zeros((240, 320), np.uint8)) is None
    board = np.kron(np.indices((6, 8)).sum(0) % 2, np.ones((40, 40))).astype(np.uint8) * 255
    assert reader.read(board) is None
    rng = np.random.default_rng(0)
    assert not any(reader.read(rng.integers(0, 256, (120, 160), np.uint8)) for _ in range(20))


def test_half_of_two_cards_is_not_read(card: ClockCard) -> None:
    camera = card.rig(1, 320, 240).cameras[0]
    a, b = (cv2.cvtColor(card.render(camera, t).rgb, cv2.COLOR_RGB2GRAY) for t in (1.0, 30.0))
    y = round(float(card.corners(camera)[:, 1].mean()))
    torn = np.concatenate([a[:y], b[y:]])
    assert CardReader().read(torn) is None


def test_a_reader_finds_a_card_that_moved_and_sizes_that_change(card: ClockCard) -> None:
    reader = CardReader()
    for size in ((320, 240), (640, 480), (320, 240)):
        for camera in card.rig(2, *size).cameras:
            reading = reader.read(cv2.cvtColor(card.render(camera, 3.0).rgb, cv2.COLOR_RGB2GRAY))
            assert reading is not None and reading.number == 3000


def test_corners_that_are_off_read_nothing(card: ClockCard) -> None:
    camera = card.rig(1, 320, 240).cameras[0]
    grey = cv2.cvtColor(card.render(camera, 3.0).rgb, cv2.COLOR_RGB2GRAY)
    assert read_at(grey, card.corners(camera)) == 3000
    assert read_at(grey, card.corners(camera) + np.array([0, -60], np.float32)) is None


@pytest.mark.parametrize("size", [(320, 240), (322, 242)])
def test_luma_is_the_brightness_whatever_the_row_length(size: tuple[int, int]) -> None:
    grey = np.tile(np.linspace(16, 235, size[0]).astype(np.uint8), (size[1], 1))
    planar = np.concatenate([grey.reshape(-1), np.full(size[0] * size[1] // 2, 128, np.uint8)])
    frame = av.VideoFrame.from_ndarray(planar.reshape(-1, size[0]), "yuv420p")
    assert np.array_equal(luma(frame), grey)


# From sightings to figures.


@given(st.integers(0, 10**15), st.integers(-400_000, 400_000))
def test_a_number_stands_for_the_nearest_instant(ms: int, away_ms: int) -> None:
    assert instant_of(ms % PERIOD_MS, max(ms + away_ms, 0) * MS) == ms * MS


def captures(n: int = 100, period: int = 50 * MS, start: int = 7 * NS) -> list[int]:
    return [start + i * period for i in range(n)]


def sighting(capture: int, delay: int, claimed: int | None = None) -> Sighting:
    return Sighting(capture + delay, round(capture / MS) % PERIOD_MS, claimed)


def joined(sightings: list[Sighting], **more: Any) -> Joined:
    return join(captures(), sightings, budget_ns=BUDGET, warm_up_ns=NS, **more)


def test_what_is_never_seen_is_a_miss_and_what_is_late_is_late() -> None:
    seen = [sighting(c, 150 * MS if i % 10 == 0 else 40 * MS) for i, c in enumerate(captures()) if i % 7]
    records = joined(seen).records
    # One second of warm-up and the last two and a half are left out.
    assert [r.capture_ns for r in records] == captures()[20:50]
    by = {r.capture_ns: r for r in records}
    for i, c in enumerate(captures()[20:50], 20):
        expected = "dropped" if i % 7 == 0 else "late" if i % 10 == 0 else "shown"
        assert by[c].outcome == expected
        assert by[c].reason == ("never seen" if expected == "dropped" else None)


def test_the_first_time_that_a_capture_is_seen_counts() -> None:
    c = captures()[40]
    record = next(r for r in joined([sighting(c, 30 * MS), sighting(c, 70 * MS)]).records if r.capture_ns == c)
    assert record.displayed_ns == c + 30 * MS


def test_cards_that_can_not_be_read_or_mean_no_capture_are_counted_apart() -> None:
    found = joined([Sighting(10 * NS, None), Sighting(10 * NS, 123), sighting(captures()[45], 40 * MS)])
    assert (found.unreadable, found.strange) == (1, 1)
    assert sum(r.displayed_ns is not None for r in found.records) == 1


def test_the_servers_stages_and_reasons_are_put_on_the_cards_clock() -> None:
    offset = 123 * NS
    c, lost = captures()[40:42]

    def trace(at: int, shown: int | None, reason: str | None) -> FrameTrace:
        return FrameTrace(
            capture_ns=at + offset + MS // 2, deadline_ns=at + offset + BUDGET, clock_error_ns=0, reason=reason,
            displayed_ns=None if shown is None else shown + offset, outcome="shown" if shown else "dropped",
            rung="net-240-2", cameras=2, stages=[("blend", at + offset + 10 * MS, at + offset + 20 * MS)],
        )  # fmt: skip

    found = joined(
        [sighting(c, 40 * MS)],
        traces=[trace(c, c + 42 * MS, None), trace(lost, None, "hopeless")],
        trace_offset_ns=offset,
    )
    by = {r.capture_ns: r for r in found.records}
    assert by[c].rung == "net-240-2" and by[c].stages[0].start_ns == c + 10 * MS
    assert by[lost].reason == "hopeless"
    assert found.told == (2 * MS,)
    assert stages(found.records)["blend"] == {"p50_ms": 10.0, "p95_ms": 10.0}


def test_a_trace_is_found_although_the_senders_clock_is_off() -> None:
    off = -11 * MS
    seen = [sighting(c, 40 * MS, c + off) for c in captures() if c != captures()[45]]
    traces = [
        FrameTrace(
            capture_ns=c + off, deadline_ns=c + BUDGET, clock_error_ns=0, displayed_ns=None, outcome="dropped",
            reason="hopeless", rung=str(i), cameras=2, stages=[("receive", c + off, c + 5 * MS)],
        )
        for i, c in enumerate(captures())
    ]  # fmt: skip
    found = joined(seen, traces=traces)
    assert [r.rung for r in found.records] == [str(i) for i in range(20, 50)]
    assert all(r.stages[0].start_ns == r.capture_ns for r in found.records)
    assert [r.reason for r in found.records if r.displayed_ns is None] == ["hopeless"]
    assert set(found.claims) == {off}


def test_a_freeze_is_far_longer_than_pictures_usually_last() -> None:
    times = [i * 50 * MS for i in range(40)]
    assert freezes(times) == (0, 0.0)
    later = [t + 300 * MS for t in times[20:]]
    assert freezes(times[:20] + later) == (1, 350.0)


def test_a_verdict_is_refused_when_checks_disagree() -> None:
    good = [sighting(c, 40 * MS) for c in captures()]
    fine = joined(good)
    assert doubts(fine, 0) == [] and verdict(1.0, []) == "good" and verdict(0.5, []) == "poor"
    cases = {
        "card": joined([Sighting(s.shown_ns, None if i % 3 == 0 else s.number) for i, s in enumerate(good)]),
        "causality": joined([sighting(c, -40 * MS) for c in captures()]),
        "pictures": joined([]),
        "length": join(captures(60), good, budget_ns=BUDGET, warm_up_ns=NS),
        "ledger": Joined(fine.records, 0, 0, (), fine.shown, tuple(30 * MS for _ in fine.records)),
    }
    for name, case in cases.items():
        found = doubts(case, 0)
        assert [d.check for d in found] == [name]
        assert verdict(1.0, found) == "refused"


def test_stages_that_end_after_the_picture_was_seen_are_doubted() -> None:
    at = captures()[40]
    late = FrameTrace(
        capture_ns=at, displayed_ns=at + 40 * MS, deadline_ns=at + BUDGET, clock_error_ns=0, outcome="shown",
        reason=None, rung=None, cameras=2, stages=[("blend", at, at + 60 * MS)],
    )  # fmt: skip
    found = joined([sighting(c, 40 * MS) for c in captures()], traces=[late])
    assert [d.check for d in doubts(found, 0)] == ["stages"]
    assert doubts(found, 30 * MS) == []


def test_what_can_not_be_measured_is_refused_before_it_begins(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ProbeError, match="too short"):
        check(ProbeOptions(url="http://a", out=Path(), seconds=6))
    with pytest.raises(ProbeError, match="one process"):
        check(ProbeOptions(url="http://a/offer", out=Path(), role="watch"))
    with pytest.raises(SystemExit) as e:
        main(["probe", "http://127.0.0.1:9", "--duration", "3"])
    assert e.value.code == 2 and "too short" in capsys.readouterr().err
    with pytest.raises(SystemExit) as e:
        main(["probe", "http://127.0.0.1:9", "--require", "95"])
    assert e.value.code == 2 and "0 to 1" in capsys.readouterr().err


def test_the_report_says_what_the_microphone_heard() -> None:
    options = ProbeOptions(url="http://a", out=Path())
    told = [
        _microphone(replace(options, browser=browser, speech=speech))
        for browser, speech in ((False, None), (True, None), (True, "es"))
    ]
    assert told == ["chirps, not translated", "silence", "recorded speech in es"]


def test_nobody_there_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    for url in ("http://127.0.0.1:9", "http://127.0.0.1:9/offer"):
        with pytest.raises(SystemExit) as e:
            main(["probe", url, "--duration", "12"])
        error = capsys.readouterr().err.strip()
        assert e.value.code == 2 and error.startswith("streamsvc probe: ") and "\n" not in error


# Sound.


def test_a_chirp_is_found_in_noise_to_a_fraction_of_a_millisecond_and_lost_ones_are_lost() -> None:
    said: list[int] = []
    now = [5 * NS]
    voice = ChirpVoice(lambda: now[0], said.append)
    ear = Ear()
    rng = np.random.default_rng(2)
    delay, line = 83_700_000, []
    for block in range(500):  # ten seconds
        before = len(said)
        samples = voice.read(960)
        if len(said) > before:
            ear.said(said[-1])
        if len(said) == 3:
            samples = np.zeros_like(samples)
        line.append((now[0] + delay, samples * 0.4 + rng.normal(0, 0.01, 960).astype(np.float32)))
        now[0] += 20 * MS
        assert block or said == [5 * NS]
    for heard_ns, samples in line:
        ear.hear(samples.astype(np.float32), heard_ns)
    assert [s for s, _ in ear.heard] == said[:5]
    delays = [None if at is None else (at - s) / MS for s, at in ear.heard]
    assert delays[2] is None
    assert all(d == pytest.approx(83.7, abs=0.1) for d in delays[:2] + delays[3:])


def test_skew_is_sound_against_the_picture_of_the_same_instant() -> None:
    records = joined([sighting(c, 40 * MS) for c in captures()]).records
    said = captures()[40] + 7 * MS
    assert skews_ms([(said, said + 75 * MS), (said, None), (NS, NS)], records) == [35.0]


def test_a_voice_begins_after_a_pause_and_not_with_a_click() -> None:
    onsets = Onsets()
    rate = 48_000
    sound = np.zeros(4 * rate, np.float32)
    tone = 0.2 * np.sin(2 * np.pi * 200 * np.arange(rate) / rate).astype(np.float32)
    sound[rate : 2 * rate] = tone
    sound[100:140] = 0.9
    sound[3 * rate : 3 * rate + rate // 2] = tone[: rate // 2]
    for i in range(0, len(sound), 700):
        onsets.take(sound[i : i + 700], 9 * NS + i * NS // rate)
    spans = [[round((t - 9 * NS) / NS, 2) for t in span] for span in onsets.spans]
    assert spans == [[1.0, 2.0], [3.0, 3.5]]


def test_the_first_words_of_phrases_end_where_a_listener_to_their_first_seconds_says() -> None:
    rate = 48_000
    onsets = Onsets()
    openings = Openings(onsets)
    sound = np.zeros(12 * rate, np.float32)
    times = np.arange(5 * rate) / rate
    sound[2 * rate : 7 * rate] = 0.2 * np.sin(2 * np.pi * 200 * times)
    sound[9 * rate : 10 * rate] = 0.2 * np.sin(2 * np.pi * 200 * times[:rate])
    heard: list[Samples] = []

    def listen(samples: Samples) -> float | None:
        heard.append(samples)
        return None if len(heard) == 2 else float(np.flatnonzero(np.abs(samples) > 0.05)[0]) / 16_000 + 0.5

    for i in range(0, len(sound), 960):
        onsets.take(sound[i : i + 960], 5 * NS + i * NS // rate)
        openings.take(sound[i : i + 960], 5 * NS + i * NS // rate)
    first, second = openings.ends_ns(listen)
    assert first == pytest.approx(7.5 * NS, abs=10 * MS) and second is None
    assert all(3.2 <= len(samples) / 16_000 <= 3.4 for samples in heard)


def test_a_phrase_is_first_heard_when_the_interpreter_begins_after_its_first_commit() -> None:
    begun = [0, 10 * NS, 20 * NS]
    commits = [(0, 2 * NS), (NS, 3 * NS), (10 * NS, 12 * NS), (20 * NS, 22 * NS)]
    # The second begins while the first is still being said, and the third had no time: nobody can tell.
    heard = [[2 * NS + MS, 13 * NS]]
    assert first_heard(begun, commits, heard, 23 * NS) == [(0, 2 * NS, 2 * NS + MS)]


def test_a_phrase_that_is_heard_late_or_never_is_not_left_out() -> None:
    begun = [k * 10 * NS for k in range(5)]
    commits = [(b, b + 2 * NS) for b in begun]
    heard = [[8 * NS, 9 * NS], [12 * NS + MS, 13 * NS], [31 * NS, 31 * NS + MS]]
    told = first_heard(begun, commits, heard, 60 * NS)
    assert [at for _, _, at in told] == [8 * NS, 12 * NS + MS, 31 * NS, None, None]
    found = stream_of([None if at is None else (at - begin) / MS for begin, _, at in told], ranked=True)
    assert (found.n, found.lost, found.p50_ms, found.p95_ms) == (3, 2, 11_000, None)


def test_percentiles_of_what_was_heard_are_of_it_alone_where_the_lost_are_told_beside() -> None:
    assert stream_of([10.0, None, 20.0]) == Stream(2, 1, 15.0, pytest.approx(19.5), 20.0)
    assert stream_of([None, None], ranked=True) == Stream(0, 2) == stream_of([None, None])


def test_chirps_that_are_said_when_sound_has_died_are_lost() -> None:
    now = 0
    ear = Ear()
    voice = ChirpVoice(lambda: now, ear.said)
    for k in range(50 * 21):
        now = k * 20 * MS
        samples = voice.read(960)
        if now < 9 * NS:
            ear.hear(samples, now + 50 * MS)
    ear.judge(21 * NS)
    assert [said for said, _ in ear.heard] == [2 * NS * k for k in range(10)], "the last may be on its way still"
    assert [at is not None for _, at in ear.heard] == [True] * 5 + [False] * 5


def test_what_a_call_lost_at_its_end_is_judged_by_when_its_cameras_stopped() -> None:
    notes = Notes(lambda at: at, lambda: None)
    notes.ear.said(5 * NS)
    notes.ear.said(9 * NS)
    notes.captured(10 * NS)
    notes.close()
    assert notes.ear.heard == [(5 * NS, None)]


async def test_a_chirp_is_said_when_it_is_due_however_late_it_is_pulled() -> None:
    clock = SimpleNamespace(ns=NS)
    clock.now_ns = lambda: clock.ns

    async def sleep(seconds: float) -> None:
        clock.ns += round(seconds * NS)

    said: list[int] = []
    voice = ChirpVoice(clock.now_ns, said.append)
    track = AudioOut(voice.read, clock=clock, sleep=sleep)
    for _ in range(99):
        await track.recv()
    clock.ns += 180 * MS  # as the next chirp is due
    await track.recv()
    track.overdue()
    assert said == [NS, 3 * NS]
    clock.ns += 1250 * MS  # so long that the track goes on from now
    sent = [await track.recv() for _ in range(100)]
    assert said[2] in [s.capture_ns for s in sent] and len(said) == 3


async def test_a_call_that_was_taken_up_again_is_said_from_then_on() -> None:
    said: list[int] = []
    clock = SimpleNamespace(ns=0)
    voice = ChirpVoice(lambda: int(clock.ns), said.append)
    for k in range(100):
        clock.ns = k * 20 * MS
        voice.read(960)
    clock.ns = 11 * NS + 7 * MS
    voice.read(960)
    assert 0 <= clock.ns - said[1] < 20 * MS


def test_the_chirp_neither_clips_nor_clicks() -> None:
    sound = chirp()
    assert np.abs(sound).max() <= 0.5 and abs(sound[0]) < 1e-3 and abs(sound[-1]) < 1e-3


# Other servers.


@pytest.mark.parametrize(
    ("url", "theirs"),
    [
        ("http://host:8080", False), ("http://host:8080/", False), ("http://host/room/lounge", False),
        ("ws://host/ws", False), ("http://host:8080/offer", True), ("https://host/api/offer", True),
    ],
)  # fmt: skip
def test_a_path_of_its_own_means_another_server(url: str, theirs: bool) -> None:
    assert takes_post(url) is theirs


@pytest.fixture
def answers() -> Iterator[SimpleNamespace]:
    given_answer = SimpleNamespace(status=200, body=b"{}", asked=None, url="")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            given_answer.asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(given_answer.status)
            self.end_headers()
            self.wfile.write(given_answer.body)

        def log_message(self, *args: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    given_answer.url = f"http://127.0.0.1:{server.server_port}/offer"
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield given_answer
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_offer_is_posted_as_others_take_it(answers: SimpleNamespace) -> None:
    answers.body = b'{"sdp": "v=0", "type": "answer"}'
    assert post(answers.url, "the offer") == "v=0"
    assert answers.asked["sdp"] == "the offer" and answers.asked["type"] == "offer"


@pytest.mark.parametrize(
    ("status", "body"), [(404, b""), (200, b"not json"), (200, b"[]"), (200, b'{"status": "failed"}'), (200, b"\xff")]
)
def test_an_answer_that_is_none_is_a_clear_error(answers: SimpleNamespace, status: int, body: bytes) -> None:
    answers.status, answers.body = status, body
    with pytest.raises(PostOfferError, match=r"127\.0\.0\.1"):
        post(answers.url, "the offer")


# What is written.


def probed(url: str, delay: int) -> Probed:
    found = joined([sighting(c, delay) for c in captures()])
    shown = [r.displayed_ns - r.capture_ns for r in found.records if r.displayed_ns is not None]
    figures = {
        "verdict": "good", "doubts": [{"check": "card", "finding": "<b>"}], "notices": ["slow: it is"],
        "view": {
            "goodput": 1.0, "due": len(found.records), "budget_ms": 100.0, "latency_p50_ms": shown[0] / MS,
            "latency_p95_ms": 1.0, "latency_p99_ms": 1.0, "latency_max_ms": 1.0, "fps": 20.0, "longest_gap_ms": 50.0,
            "freezes": 0, "frozen_ms": 0.0, "late": 0, "dropped": 1, "misses": {"hopeless": 1}, "unreadable": 0,
            "strange": 0, "rungs": {"net-240-2": 5}, "psnr_db": 38.5, "mbit_per_s": 1.25,
        },
        "clock": {"rtp_minus_card_p50_ms": 0.1, "rtp_minus_card_p95_ms": 0.2, "error_ms": 1.5},
        "sound": {"n": 3, "lost": 1, "p50_ms": 80.0, "p95_ms": 90.0, "skew_p50_ms": 40.0, "skew_worst_ms": -50.0},
        "speech": {
            "words": 7, "caption_lag_p50_ms": 1.0, "caption_lag_p95_ms": 2.0, "phrases": 4,
            "first_caption": {"p50_ms": 1200.0},
            "first_heard": {"n": 2, "lost": 1, "p50_ms": 1900.0, "p95_ms": None},
            "after_first_word": {"n": 3, "lost": 0, "p50_ms": 1500.0, "p95_ms": 2500.0},
        },
        "stages": {"blend": {"p50_ms": 5.0, "p95_ms": 6.0}},
        "conditions": {"url": url, "role": "both"},
    }  # fmt: skip
    return Probed(figures, found.records, np.full((32, 32, 3), 90, np.uint8))


def test_the_report_the_pictures_and_the_records_are_written(tmp_path: Path) -> None:
    ours, theirs = probed("http://a", 40 * MS), probed("http://b/offer", 80 * MS)
    report = write(tmp_path / "out", [ours, theirs])
    page = report.read_text()
    assert "GOOD" in page and "&lt;b&gt;" in page and "seen.png" in page and "http://a" in page
    assert len(list(read_ledger(report.parent / "probe.jsonl"))) == len(ours.records)
    assert len(list(read_ledger(report.parent / "2.probe.jsonl"))) == len(theirs.records)
    plot = cv2.imread(str(report.parent / "latency.png"))
    assert plot is not None and (plot < 128).any()
    assert json.loads((report.parent / "probe.json").read_text())["verdict"] == "good"
    lines = "\n".join(table(ours.figures))
    for told in (
        "100.0 % of 30",
        "p50 40 ms",
        "hopeless 1",
        "chirps heard",
        "1,900 ms (p50), never (p95)",
        "3 of 4 could be told, 1 of them never heard",
        "blend",
        "slow: it is",
        "38.5 dB",
        "1.25 Mb/s",
    ):
        assert told in lines
    assert "(2.00 x)" in "\n".join(compare_table([ours.figures, theirs.figures]))
