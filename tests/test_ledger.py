"""The ledger: records are closed once, written without blocking, read back, and summed up as the design defines."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.errors import StreamsvcError
from streamsvc.ledger import Book, Ledger, LedgerError, Record, Stage, key_of, read_ledger
from streamsvc.ledger.book import GRACE_NS, UNREPORTED
from streamsvc.ledger.figures import goodput, longest_gap_ns, percentile, summarise
from streamsvc.ledger.live import LIMIT, LiveBoard
from streamsvc.ledger.metrics import NAME_LIMIT, Metrics
from streamsvc.ledger.records import NetworkSample

MS = 1_000_000
BUDGET = 400 * MS


def frame(id: int, capture_ms: float = 0.0, **changes: object) -> Record:
    capture = round(capture_ms * MS)
    fields: dict[str, object] = {
        "session": "s",
        "stream": "view",
        "id": id,
        "capture_ns": capture,
        "deadline_ns": capture + BUDGET,
        "outcome": "dropped",
    }
    return Record(**(fields | changes))  # type: ignore[arg-type]


def shown(id: int, capture_ms: float, latency_ms: float, **changes: object) -> Record:
    displayed = round((capture_ms + latency_ms) * MS)
    outcome = "shown" if latency_ms <= 400 else "late"
    return frame(id, capture_ms, displayed_ns=displayed, outcome=outcome, **changes)


def commit(id: int, end_ms: float, lag_ms: float, text: str) -> Record:
    return shown(id, end_ms, lag_ms, kind="speech", stream="voice", text=text)


class TestBook:
    def test_a_display_report_in_time_closes_a_record_as_shown(self) -> None:
        book = Book()
        key = book.open(frame(1))
        record = book.shown(key, BUDGET, 3 * MS)
        assert record is not None
        assert (record.outcome, record.displayed_ns, record.clock_error_ns) == ("shown", BUDGET, 3 * MS)
        assert len(book) == 0

    def test_a_display_report_after_the_deadline_closes_a_record_as_late(self) -> None:
        book = Book()
        record = book.shown(book.open(frame(1)), BUDGET + 1)
        assert record is not None
        assert record.outcome == "late"

    def test_a_record_without_a_report_is_closed_as_a_miss_one_second_after_its_deadline(self) -> None:
        book = Book()
        book.open(frame(1))
        assert book.tick(BUDGET + GRACE_NS - 1) == []
        (record,) = book.tick(BUDGET + GRACE_NS)
        assert (record.outcome, record.reason, record.displayed_ns) == ("dropped", UNREPORTED, None)
        assert book.tick(BUDGET + 2 * GRACE_NS) == []

    def test_the_first_reason_for_a_drop_stands(self) -> None:
        book = Book()
        key = book.open(frame(1))
        book.drop(key, "late-camera")
        book.drop(key, "queue")
        assert [r.reason for r in book.close()] == ["late-camera"]

    def test_stages_and_plan_are_kept(self) -> None:
        book = Book()
        key = book.open(frame(1, cameras=2))
        book.stage(key, Stage("ring", 1, 2), Stage("splat", 2, 5))
        book.stage(key, Stage("encode", 6, 7))
        book.plan(key, rung="half", quality=27.5, predicted_ns=9)
        record = book.shown(key, 10)
        assert record is not None
        assert [s.name for s in record.stages] == ["ring", "splat", "encode"]
        assert (record.rung, record.quality, record.predicted_ns, record.cameras) == ("half", 27.5, 9, 2)

    def test_reports_about_records_that_are_not_open_change_only_a_counter(self) -> None:
        book = Book()
        key = key_of(frame(9))
        assert book.shown(key, 1) is None
        book.stage(key, Stage("a", 0, 1))
        book.drop(key, "x")
        assert book.statistics().strays == 3
        assert book.close() == []

    def test_an_identity_that_is_used_again_gets_its_own_grace(self) -> None:
        book = Book()
        book.shown(book.open(frame(1)), 5)
        book.open(frame(1, capture_ms=5000))
        assert book.tick(BUDGET + GRACE_NS) == []
        assert len(book) == 1

    @given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["open", "shown", "drop", "tick"]))))
    def test_every_record_is_closed_exactly_once(self, steps: list[tuple[int, str]]) -> None:
        book = Book()
        opened: list[int] = []
        closed: list[int] = []
        for i, (n, what) in enumerate(steps):
            key = key_of(frame(n))
            if what == "open" and n not in opened:
                opened.append(n)
                book.open(frame(n, capture_ms=i * 100))
            elif what == "shown" and (record := book.shown(key, i * 100 * MS)) is not None:
                closed.append(record.id)
            elif what == "drop":
                book.drop(key, "why")
            elif what == "tick":
                closed += [r.id for r in book.tick(i * 100 * MS)]
        closed += [r.id for r in book.close()]
        assert sorted(closed) == sorted(opened)
        assert book.statistics().closed == len(opened)


class TestLedger:
    def test_what_is_written_is_read_back(self, tmp_path: Path) -> None:
        path = tmp_path / "deep" / "ledger.jsonl"
        heard: list[Record] = []
        ledger = Ledger(path, listeners=[heard.append], now_ns=lambda: 0)
        record = ledger.shown(ledger.open(frame(1)), 7)
        dropped = ledger.open(frame(2))
        ledger.drop(dropped, "stale")
        spoken = commit(1, 100, 900, "Größe ✓")
        ledger.write(spoken)
        ledger.close()
        ledger.close()
        read = list(read_ledger(path))
        assert read[:2] == [record, spoken]
        assert [(r.id, r.outcome, r.reason) for r in read[2:]] == [(2, "dropped", "stale")]
        assert heard == read
        assert ledger.statistics().written == 3

    def test_a_second_ledger_appends(self, tmp_path: Path) -> None:
        for n in range(2):
            ledger = Ledger(tmp_path / "ledger.jsonl")
            ledger.write(shown(n, 0, 10))
            ledger.close()
        assert [r.id for r in read_ledger(tmp_path / "ledger.jsonl")] == [0, 1]

    def test_callers_never_wait_for_the_writer_and_losses_are_counted(self) -> None:
        held, entered = threading.Event(), threading.Event()

        def hold(record: Record) -> None:
            entered.set()
            held.wait()

        ledger = Ledger(None, listeners=[hold], queue_limit=4)
        ledger.write(frame(0))
        entered.wait()
        for n in range(1, 11):
            ledger.write(frame(n))
        assert ledger.statistics().lost == 6
        held.set()
        ledger.close()

    def test_a_listener_that_fails_does_not_end_the_bookkeeping(self, tmp_path: Path) -> None:
        def fail(record: Record) -> None:
            raise RuntimeError("listener")

        heard: list[Record] = []
        ledger = Ledger(tmp_path / "l.jsonl", listeners=[fail, heard.append])
        ledger.write(frame(1))
        ledger.close()
        assert len(heard) == 1

    def test_many_threads_lose_nothing(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path / "l.jsonl", now_ns=lambda: 0)

        def work(base: int) -> None:
            for n in range(200):
                ledger.shown(ledger.open(frame(base + n)), 5)

        threads = [threading.Thread(target=work, args=(t * 1000,)) for t in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        ledger.close()
        assert len({r.id for r in read_ledger(tmp_path / "l.jsonl")}) == 800

    def test_a_path_that_cannot_be_written_is_a_typed_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(LedgerError, match="can't be written"):
            Ledger(tmp_path / "file" / "ledger.jsonl")

    def test_a_full_disk_costs_records_not_the_call(self) -> None:
        ledger = Ledger(Path("/dev/full"))
        ledger.write(frame(1))
        ledger.close()
        assert ledger.statistics().lost == 1


class TestReader:
    def write(self, tmp_path: Path, data: bytes) -> Path:
        path = tmp_path / "ledger.jsonl"
        path.write_bytes(data)
        return path

    def line(self, tmp_path: Path, id: int = 1) -> bytes:
        ledger = Ledger(tmp_path / f"one{id}.jsonl")
        ledger.write(shown(id, 0, 10))
        ledger.close()
        return (tmp_path / f"one{id}.jsonl").read_bytes()

    def test_a_last_line_cut_short_is_tolerated_and_counted(self, tmp_path: Path) -> None:
        whole = self.line(tmp_path)
        reader = read_ledger(self.write(tmp_path, whole + whole[:-20]))
        assert len(list(reader)) == 1
        assert reader.truncated == 1

    def test_an_empty_file_has_no_records(self, tmp_path: Path) -> None:
        reader = read_ledger(self.write(tmp_path, b""))
        assert list(reader) == []
        assert reader.truncated == 0

    @pytest.mark.parametrize(
        "damage",
        [b"{}\n", b"\n", b"[1]\n", b"\xff\xfe\n", b'{"v": 1, "id": "x"}\n', b"[" * 100_000 + b"\n", b"x" * 2_000_000],
        ids=["empty object", "empty line", "list", "not utf-8", "wrong type", "deep", "long"],
    )
    def test_damage_is_named_by_its_line(self, tmp_path: Path, damage: bytes) -> None:
        path = self.write(tmp_path, self.line(tmp_path) + damage + self.line(tmp_path, 2))
        with pytest.raises(LedgerError, match="line 2") as caught:
            list(read_ledger(path))
        assert isinstance(caught.value, StreamsvcError)
        assert str(path) in str(caught.value)

    @pytest.mark.parametrize(
        "content",
        [b"hello", b"\x89PNG\r\n\x1a\n", b'{"captions": []}\n', b'{\n "a": 1}\n', b'{"kind": "network"}\n', b"[1,"],
        ids=["text", "picture", "another document", "spread out", "empty sample", "list cut short"],
    )
    def test_what_is_no_ledger_at_all_is_said_so_in_one_line(self, tmp_path: Path, content: bytes) -> None:
        with pytest.raises(LedgerError, match=r"jsonl is not a ledger, .* JSON record") as caught:
            list(read_ledger(self.write(tmp_path, content)))
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("old", "new", "says"),
        [
            (b'"deadline_ns":400', b'"deadline_ns":-1', "deadline is before its capture"),
            (b'"capture_ns":0', b'"capture_ns":-1' + b"0" * 400, "time that no clock shows"),
            (b'"displayed_ns":10', b'"displayed_ns":1' + b"0" * 400, "time that no clock shows"),
        ],
        ids=["deadline", "capture", "display"],
    )
    def test_times_that_cannot_be_are_named(self, tmp_path: Path, old: bytes, new: bytes, says: str) -> None:
        line = self.line(tmp_path)
        assert old in line
        with pytest.raises(LedgerError, match=f"line 2: .*{says}"):
            list(read_ledger(self.write(tmp_path, line + line.replace(old, new))))

    def test_lines_of_the_network_are_kept_apart(self, tmp_path: Path) -> None:
        sample = NetworkSample(session="s", at_ns=5, period_ns=10, rtt_ns=3, in_bps=1e6, in_lost=0.1)
        line = msgspec.json.encode(sample) + b"\n"
        reader = read_ledger(self.write(tmp_path, line + self.line(tmp_path) + line))
        assert len(list(reader)) == 1
        assert reader.network == [sample, sample]
        with pytest.raises(LedgerError, match="line 2"):
            list(read_ledger(self.write(tmp_path, line + line.replace(b'"in_lost":0.1', b'"in_lost":7'))))

    def test_a_newer_version_is_refused(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, self.line(tmp_path).replace(b'"v":1', b'"v":2'))
        with pytest.raises(LedgerError, match="version 2"):
            list(read_ledger(path))

    def test_a_missing_file_is_a_typed_error(self, tmp_path: Path) -> None:
        with pytest.raises(LedgerError, match=r"can't be read"):
            read_ledger(tmp_path / "none.jsonl")


class TestFigures:
    def test_goodput_counts_every_capture_as_due(self) -> None:
        records = [shown(0, 0, 100), shown(1, 66, 500), frame(2, 133), frame(3, 200)]
        assert goodput(records) == 0.25

    def test_a_frame_under_the_quality_floor_is_not_good(self) -> None:
        records = [shown(0, 0, 100, quality=25.0), shown(1, 66, 100, quality=20.0), shown(2, 99, 100)]
        assert goodput(records) == 1.0
        assert goodput(records, q_min=22.0) == pytest.approx(1 / 3)

    def test_percentiles_interpolate(self) -> None:
        assert percentile([4, 1, 3, 2], 50) == 2.5
        assert percentile([7], 99) == 7
        assert percentile([], 50) is None

    def test_gaps_are_within_one_stream(self) -> None:
        records = [shown(0, 0, 100), shown(1, 300, 100), shown(0, 1000, 100, stream="other")]
        assert longest_gap_ns(records) == 300 * MS

    def test_a_gap_that_lasts_until_the_end_is_one(self) -> None:
        records = [shown(0, 0, 100), shown(1, 100, 100), *(frame(n, 100 * n) for n in range(2, 50))]
        assert longest_gap_ns(records) == (4900 - 200) * MS
        # What was on its way when a call ended is no gap.
        assert longest_gap_ns([*records[:2], frame(2, 200)]) == 100 * MS

    def test_figures_a_second_are_of_the_time_that_streams_lasted(self) -> None:
        calls = [
            shown(n, start + 100 * n, 50, session=name, rung="a" if n % 2 else "b")
            for name, start in (("one", 0), ("two", 100_000), ("three", 200_000))
            for n in range(101)
        ]
        view = summarise(calls).view
        assert view.fps == pytest.approx(10, abs=0.2)
        assert view.rung_switches_per_s == pytest.approx(10, abs=0.2)

    def test_a_summary_has_both_streams(self) -> None:
        records = [
            shown(0, 0, 100, rung="full"),
            shown(1, 100, 200, rung="half"),
            shown(2, 200, 600, rung="half"),
            frame(3, 1000, reason="stale"),
            commit(0, 500, 1000, "good evening to you"),
            commit(1, 900, 6000, "all"),
        ]
        summary = summarise(records, truncated=1)
        view, speech = summary.view, summary.speech
        assert (view.due, view.shown, view.late, view.dropped) == (4, 2, 1, 1)
        assert view.goodput == 0.5
        assert view.misses == {"late": 1, "stale": 1}
        assert view.rungs == {"half": 2, "full": 1}
        assert view.rung_switches_per_s == 1.0
        assert view.budget_ms == 400
        assert (view.latency_p50_ms, view.latency_max_ms) == (200, 600)
        assert (speech.passes, speech.words, speech.words_in_time) == (2, 5, 0.8)
        assert summary.truncated == 1
        assert summary.to_dict()["streams"]["s/view"]["due"] == 4

    def test_nothing_has_figures_too(self) -> None:
        summary = summarise([])
        assert summary.view.goodput is None
        assert summary.speech.passes == 0


def board_of(*sessions: str) -> LiveBoard:
    board = LiveBoard()
    for session in sessions:
        board.remember(session)
    return board


class TestLive:
    def test_the_last_seconds_are_shown(self) -> None:
        board = LiveBoard(window_ns=1_000 * MS)
        board.remember("s")
        for n in range(60):
            latency = 100 if n % 10 else 500
            board.add(shown(n, n * 100, latency, rung="half", cameras=2))
        figures = board.figures("s", 6_000 * MS)
        assert figures.fps == 10
        assert figures.latency_p50_ms == 100
        assert figures.goodput == pytest.approx(0.9)
        assert figures.dropped == {"late": 1}
        assert (figures.rung, figures.cameras, figures.budget_ms) == ("half", 2, 400)

    def test_captures_whose_grace_is_not_over_do_not_flatter_goodput(self) -> None:
        board = board_of("s")
        board.add(shown(1, 0, 10))
        assert board.figures("s", 100 * MS).goodput is None
        assert board.figures("s", BUDGET + GRACE_NS).goodput == 1.0

    def test_what_no_window_reaches_is_let_go(self) -> None:
        board = board_of("s")
        for n in range(2000):
            board.add(shown(n, n * 66, 60))
        assert len(board._records["s"]) < 300
        assert board.figures("s", 2000 * 66 * MS).fps == pytest.approx(15, abs=0.3)

    def test_what_closes_after_its_session_ended_is_not_kept(self) -> None:
        board = board_of("s")
        board.add(shown(1, 0, 60))
        board.forget("s")
        board.add(frame(2, 30))
        assert board.sessions() == []
        assert board.since("s", 0)[1] == []

    def test_what_came_since_a_number_is_told_once_and_in_order(self) -> None:
        board = board_of("s", "other")
        board.add(shown(1, 0, 60))
        number, records = board.since("s", 0)
        assert [r.id for r in records] == [1]
        assert board.since("s", number) == (number, [])
        board.add(shown(3, 132, 60))
        board.add(shown(2, 66, 60, session="other"))
        board.add(frame(2, 66))
        after, records = board.since("s", number)
        assert [r.id for r in records] == [3, 2]
        assert board.since("s", after) == (after, [])

    def test_what_waits_to_be_told_is_bounded(self) -> None:
        board = board_of("s")
        for n in range(2 * LIMIT):
            board.add(shown(n, 0, 60))
        assert [r.id for r in board.since("s", 0)[1]] == list(range(LIMIT, 2 * LIMIT))

    def test_speech_lag_is_of_commits_and_sessions_are_apart(self) -> None:
        board = board_of("s")
        board.add(commit(1, 0, 1500, "yes"))
        board.add(shown(2, 0, 9000, kind="speech", text=None))
        assert board.figures("s", 9_500 * MS).speech_lag_ms == 1500
        assert board.figures("other", 9_500 * MS).speech_lag_ms is None
        board.forget("s")
        assert board.sessions() == []


class TestMetrics:
    def test_records_become_histograms_counters_and_goodput(self) -> None:
        metrics = Metrics()
        metrics.add(shown(1, 0, 120, stages=(Stage("splat", 0, 9 * MS),)))
        metrics.add(frame(2, reason="stale"))
        metrics.add(commit(1, 0, 1500, "two words"))
        metrics.restarted("hung")
        metrics.sessions(3)
        text = metrics.expose().decode()
        for line in (
            'streamsvc_latency_seconds_bucket{kind="view",le="0.15"} 1.0',
            'streamsvc_stage_seconds_count{kind="view",stage="splat"} 1.0',
            'streamsvc_records_total{kind="view",outcome="dropped",reason="stale"} 1.0',
            "streamsvc_goodput_ratio 0.5",
            "streamsvc_speech_words_total 2.0",
            'streamsvc_worker_restarts_total{reason="hung"} 1.0',
            "streamsvc_sessions 3.0",
        ):
            assert line in text

    def test_two_services_in_one_process_do_not_share_metrics(self) -> None:
        first, second = Metrics(), Metrics()
        first.restarted("killed")
        assert b'reason="killed"' not in second.expose()

    def test_labels_stay_few(self) -> None:
        metrics = Metrics()
        for n in range(500):
            metrics.add(frame(n, reason=f"reason {n}"))
        assert metrics.expose().count(b"streamsvc_records_total{") == NAME_LIMIT + 1
