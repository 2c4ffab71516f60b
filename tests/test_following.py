"""What a viewer who asks is told of the frame sets they are due, under a mock clock."""

from __future__ import annotations

from streamsvc.budget import MockClock
from streamsvc.ledger import Book, Key, Kind, Record, Stage
from streamsvc.ledger.book import GRACE_NS, UNREPORTED
from streamsvc.ledger.live import LiveBoard
from streamsvc.session.following import Following
from streamsvc.signalling.channels import Follow, Frames, FrameTrace, Passes, PassTrace

MS = 1_000_000
BUDGET = 400 * MS


class Viewer:
    """A viewer, and the ledger of the service they are in."""

    def __init__(self, *others: str) -> None:
        self.clock, self.book, self.board = MockClock(), Book(), LiveBoard()
        for session in ("viewer", *others):
            self.board.remember(session)
        self.following = Following("viewer", self.board)

    def capture(self, id: int, session: str = "viewer", kind: Kind = "view") -> Key:
        now = self.clock.now_ns()
        record = Record(
            kind=kind,
            session=session,
            stream="stream",
            id=id,
            capture_ns=now,
            deadline_ns=now + BUDGET,
            cameras=id,  # what tells one trace from another here
            outcome="dropped",
        )
        return self.book.open(record)

    def show(self, key: Key) -> None:
        record = self.book.shown(key, self.clock.now_ns(), 1 * MS)
        assert record is not None
        self.board.add(record)

    def later(self, ns: int) -> None:
        self.clock.advance(ns)
        for record in self.book.tick(self.clock.now_ns()):
            self.board.add(record)

    def told(self) -> list[FrameTrace]:
        return [f for message in self.following.news() if isinstance(message, Frames) for f in message.frames]

    def speak(self, id: int, text: str | None) -> None:
        now = self.clock.now_ns()
        record = Record(
            kind="speech",
            session="viewer",
            stream="speech",
            id=id,
            capture_ns=now - 1500 * MS,
            deadline_ns=now + 3500 * MS,
            outcome="shown",
            displayed_ns=now,
            stages=(Stage("decode", now - 400 * MS, now - 100 * MS),),
            text=text,
        )
        self.board.add(record)

    def heard(self) -> list[PassTrace]:
        return [p for message in self.following.news() if isinstance(message, Passes) for p in message.passes]


def test_who_did_not_ask_is_told_nothing() -> None:
    viewer = Viewer()
    viewer.show(viewer.capture(1))
    assert viewer.following.news() == []


def test_a_frame_set_is_told_once_with_its_stages_when_its_fate_is_known() -> None:
    viewer = Viewer()
    viewer.following.ask(Follow(frames=True))
    viewer.later(1000 * MS)
    key = viewer.capture(1)
    viewer.book.stage(key, Stage("receive", 1000 * MS, 1020 * MS), Stage("blend", 1030 * MS, 1050 * MS))
    viewer.book.plan(key, rung="full", quality=31.5, predicted_ns=50 * MS, cameras=2)
    viewer.later(100 * MS)
    assert viewer.told() == []
    viewer.show(key)
    assert viewer.told() == [
        FrameTrace(
            capture_ns=1000 * MS,
            displayed_ns=1100 * MS,
            deadline_ns=1400 * MS,
            clock_error_ns=1 * MS,
            outcome="shown",
            reason=None,
            rung="full",
            cameras=2,
            stages=[("receive", 1000 * MS, 1020 * MS), ("blend", 1030 * MS, 1050 * MS)],
            quality=31.5,
            predicted_ns=50 * MS,
        )
    ]
    assert viewer.told() == []


def test_what_was_late_or_dropped_is_told_too_and_why() -> None:
    viewer = Viewer()
    viewer.following.ask(Follow(frames=True))
    late, superseded, _ = viewer.capture(1), viewer.capture(2), viewer.capture(3)
    viewer.book.drop(superseded, "superseded")
    viewer.later(BUDGET + 1)
    viewer.show(late)
    viewer.later(GRACE_NS)
    told = [(f.cameras, f.outcome, f.reason, f.displayed_ns) for f in viewer.told()]
    assert told == [
        (1, "late", None, BUDGET + 1),
        (2, "dropped", "superseded", None),
        (3, "dropped", UNREPORTED, None),
    ]


def test_only_frame_sets_of_the_viewer_are_told() -> None:
    viewer = Viewer("other")
    viewer.following.ask(Follow(frames=True))
    viewer.show(viewer.capture(1, session="other"))
    viewer.show(viewer.capture(2, kind="speech"))
    viewer.show(viewer.capture(3))
    assert [f.cameras for f in viewer.told()] == [3]


def test_following_begins_when_asked_and_ends_when_asked() -> None:
    viewer = Viewer()
    viewer.show(viewer.capture(1))
    viewer.following.ask(Follow(frames=True))
    viewer.show(viewer.capture(2))
    viewer.following.ask(Follow(frames=True))
    assert [f.cameras for f in viewer.told()] == [2], "asking again forgets nothing"
    viewer.show(viewer.capture(3))
    viewer.following.ask(Follow(frames=False))
    viewer.show(viewer.capture(4))
    assert viewer.told() == []
    viewer.following.ask(Follow(frames=True))
    viewer.show(viewer.capture(5))
    assert [f.cameras for f in viewer.told()] == [5]


def test_who_left_is_told_nothing_more() -> None:
    viewer = Viewer()
    viewer.following.ask(Follow(frames=True))
    key = viewer.capture(1)
    viewer.board.forget("viewer")
    viewer.show(key)
    assert viewer.told() == []


def test_speech_is_told_to_who_asked_for_it_and_only_then() -> None:
    viewer = Viewer()
    viewer.later(2000 * MS)
    viewer.following.ask(Follow(frames=True))
    viewer.speak(1, "good")
    assert viewer.heard() == []
    viewer.following.ask(Follow(frames=True, speech=True))
    viewer.speak(2, "evening")
    viewer.speak(3, None)
    passes = viewer.heard()
    assert [p.text for p in passes] == ["evening", None], "what came before is not told, passes that said nothing are"
    assert passes[0] == PassTrace(
        capture_ns=500 * MS,
        displayed_ns=2000 * MS,
        deadline_ns=5500 * MS,
        outcome="shown",
        text="evening",
        stages=[("decode", 1600 * MS, 1900 * MS)],
    )
    assert viewer.heard() == [], "each pass once"
    viewer.following.ask(Follow(frames=False, speech=True))
    viewer.show(viewer.capture(4))
    viewer.speak(5, "again")
    assert [type(message) for message in viewer.following.news()] == [Passes]
