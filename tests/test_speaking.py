"""A participant's voice on its way to whoever listens."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from streamsvc.budget import MockClock
from streamsvc.frames import OUTPUT_RATE, SPEECH_RATE, link
from streamsvc.frames.ring import Slots
from streamsvc.ledger import Ledger, Record
from streamsvc.ledger.figures import speech_figures
from streamsvc.session.mixer import VoiceMixer
from streamsvc.session.settings import CallSettings
from streamsvc.session.speaking import Speaking
from streamsvc.signalling.channels import Caption, CaptionsDown, Revision

SETTINGS = CallSettings(
    speech=True, policy="agreement", parameters={}, source="es", target="en", width=320, height=240, budget_ms=400
)


class Worker:
    """Takes down what is asked of it."""

    ready = None
    ring = None
    slots = Slots(range(1))
    up = True

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.messages: list[link.OpenView | link.OpenSpeech] = []
        self.configured: list[link.ConfigureSpeech] = []
        self.heard = 0
        self.tell: Callable[[link.FromWorker], None] = lambda message: None

    def open(self, message: link.OpenView | link.OpenSpeech, listener: Callable[[link.FromWorker], None]) -> None:
        self.opened.append(message.stream)
        self.messages.append(message)
        self.tell = listener

    def configure(self, message: link.ConfigureSpeech) -> None:
        self.configured.append(message)

    def close(self, stream: str) -> None:
        self.opened.remove(stream)

    def send(self, message: link.SetIn | link.SoundIn | link.GiveOut) -> bool:
        assert isinstance(message, link.SoundIn)
        self.heard += len(message.samples) // 4
        return True

    def on_state(self, listener: Callable[[bool], None]) -> None: ...


class Listener:
    session = "sam"

    def __init__(self, hears: bool = True) -> None:
        self.hears = hears
        self.mixer = VoiceMixer()
        self.captions: list[CaptionsDown] = []

    def caption(self, message: CaptionsDown) -> None:
        self.captions.append(message)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    kept = Ledger()
    yield kept
    kept.close()


def speaking(worker: Any, ledger: Any, clock: MockClock | None = None) -> Speaking:
    return Speaking(
        session="lea", name="Lea", settings=SETTINGS, worker=worker, ledger=ledger, clock=clock or MockClock(),
        tell=lambda code, message: None,
    )  # fmt: skip


def said(number: int, start_s: float, end_s: float, text: str = "good") -> link.Said:
    """Words that were spoken then, in sound of which the worker has had a second less."""
    return link.Said(
        stream="", id=number, text=text, source_start_ms=start_s * 1000 - 1000, source_end_ms=end_s * 1000 - 1000,
        audio_ms=0, start_ns=round(start_s * 1e9), end_ns=round(end_s * 1e9),
    )  # fmt: skip


def test_nothing_is_interpreted_while_nobody_listens(ledger: Ledger) -> None:
    worker = Worker()
    lea = speaking(worker, ledger)
    lea.sound(np.zeros(SPEECH_RATE, np.float32), 10**9)
    assert (worker.opened, worker.heard) == ([], 0)
    sam = Listener()
    lea.listener = sam
    lea.sound(np.zeros(SPEECH_RATE, np.float32), 2 * 10**9)
    assert (worker.opened, worker.heard) == ([lea.stream], SPEECH_RATE)
    worker.tell(said(1, 1.0, 1.5))
    caption = sam.captions[-1]
    assert isinstance(caption, Caption) and (caption.source_start_ms, caption.source_end_ms) == (1000, 1500)
    lea.listener = Listener()  # another in their place: nothing begins anew
    assert worker.opened == [lea.stream]
    lea.listener = None
    assert worker.opened == []


def test_the_words_of_another_worker_go_on_counting(ledger: Ledger) -> None:
    worker = Worker()
    lea, sam = speaking(worker, ledger), Listener()
    lea.listener = sam
    lea.sound(np.zeros(SPEECH_RATE, np.float32), 10**9)
    for _ in range(2):
        for number in range(2):
            worker.tell(said(number, 0.0, 0.5))
        worker.tell(link.Revised(stream="", ids=[0, 1], text="very good"))
        lea.worker_state(False)
        lea.worker_state(True)
    assert [c.id for c in sam.captions if isinstance(c, Caption)] == [0, 1, 2, 3]
    assert [c.ids for c in sam.captions if isinstance(c, Revision)] == [[0, 1], [2, 3]]


def test_sound_does_not_pile_up_for_one_who_only_reads(ledger: Ledger) -> None:
    worker = Worker()
    lea = speaking(worker, ledger)
    reader = Listener(hears=False)
    lea.listener = reader
    for _ in range(50):
        worker.tell(link.SoundOut(stream="", ids=[1], samples=np.zeros(OUTPUT_RATE, "<f4").tobytes()))
        lea.original(np.ones(960, np.float32), 0)
    assert reader.mixer.waiting_s == 0
    assert not reader.mixer.read(960).any()


def test_captions_are_as_late_after_an_outage_as_they_are(ledger: Ledger) -> None:
    worker, clock = Worker(), MockClock()
    lea, sam = speaking(worker, ledger, clock), Listener()
    lea.listener = sam
    lea.sound(np.zeros(SPEECH_RATE, np.float32), 10**9)
    clock.advance(28 * 10**9)
    lea.sound(np.zeros(SPEECH_RATE, np.float32), 28 * 10**9)  # the connection was lost for 26 s
    worker.tell(said(0, 25.5, 27.5))
    caption = sam.captions[-1]
    assert isinstance(caption, Caption) and caption.wall_ms - caption.source_end_ms == 500


def test_words_do_not_go_back_when_the_clock_of_their_speaker_does(ledger: Ledger) -> None:
    worker = Worker()
    lea, sam = speaking(worker, ledger), Listener()
    lea.listener = sam
    lea.sound(np.zeros(SPEECH_RATE, np.float32), 10**9)
    for number, (start_s, end_s) in enumerate([(0.0, 2.0), (1.5, 2.5), (1.0, 2.0)]):
        worker.tell(said(number, start_s, end_s))
    spans = [(c.source_start_ms, c.source_end_ms) for c in sam.captions if isinstance(c, Caption)]
    assert spans == [(0, 2000), (2000, 2500), (2500, 2500)]


def test_translation_that_is_switched_off_and_on_counts_on_while_last_words_still_come(ledger: Ledger) -> None:
    worker = Worker()
    lea, sam = speaking(worker, ledger), Listener()
    lea.listener = sam
    lea.sound(np.zeros(SPEECH_RATE, np.float32), 10**9)
    before = worker.tell
    before(said(0, 0.0, 0.5))
    lea.configure(replace(SETTINGS, speech=False))
    assert worker.opened == []
    lea.configure(SETTINGS)
    assert len({m.stream for m in worker.messages}) == 2
    worker.tell(said(0, 1.0, 1.5, "of the new"))
    before(said(1, 1.5, 2.0, "last of the old"))
    worker.tell(link.Revised(stream="", ids=[0], text="of the newest"))
    before(link.Revised(stream="", ids=[0, 1], text="good and last"))
    captions = [c for c in sam.captions if isinstance(c, Caption)]
    assert [(c.id, c.text, c.source_start_ms) for c in captions] == [
        (0, "good", 0),
        (1, "of the new", 1000),
        (2, "last of the old", 1500),
    ]
    assert [c.ids for c in sam.captions if isinstance(c, Revision)] == [[1], [0, 2]]


def test_who_has_left_is_not_heard_again_and_their_last_words_are_read(ledger: Ledger) -> None:
    worker = Worker()
    lea, sam = speaking(worker, ledger), Listener()
    lea.listener = sam
    lea.sound(np.zeros(SPEECH_RATE, np.float32), 10**9)
    lea.close()
    worker.tell(said(0, 0.0, 0.5, "goodbye"))
    assert isinstance(sam.captions[-1], Caption)
    lea.recorded = None
    lea.configure(SETTINGS)
    assert worker.opened == []


def test_english_is_spoken_where_somebody_hears_it(ledger: Ledger) -> None:
    worker = Worker()
    lea = speaking(worker, ledger)
    lea.listener = Listener(hears=False)
    (opened,) = worker.messages
    assert isinstance(opened, link.OpenSpeech) and not opened.spoken
    lea.listener = Listener()
    assert [c.spoken for c in worker.configured] == [True]
    lea.listener = Listener(hears=False)
    lea.recorded = Tap()
    assert [c.spoken for c in worker.configured] == [True, False, True]
    assert len(worker.messages) == 1, "nothing begins anew"


class Tap:
    """Where a recording would go."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, int, int]] = []

    def words(self, text: str, start_ns: int, end_ns: int) -> None:
        self.taken.append((text, start_ns, end_ns))


def test_words_are_recorded_where_they_were_spoken(ledger: Ledger) -> None:
    worker = Worker()
    lea = speaking(worker, ledger)
    lea.listener, lea.recorded = Listener(), (tap := Tap())
    lea.sound(np.zeros(SPEECH_RATE, np.float32), 10**9)
    lea.sound(np.zeros(SPEECH_RATE, np.float32), 21 * 10**9)
    worker.tell(said(0, 0.5, 1.0))
    assert tap.taken == [("good", 5 * 10**8, 10**9)]


class Records:
    def __init__(self) -> None:
        self.written: list[Record] = []

    def write(self, record: Record) -> None:
        self.written.append(record)


def test_a_pass_that_failed_is_dropped_in_the_ledger() -> None:
    worker, records = Worker(), Records()
    lea = speaking(worker, records)
    lea.listener = Listener()
    for reason in (None, "failed", "left-out"):
        worker.tell(
            link.PassDone(
                stream="", source_end_ns=1, deadline_ns=2, text="" if reason else "a", stages=[], reason=reason
            )
        )
    assert [(r.id, r.outcome, r.reason, r.displayed_ns) for r in records.written] == [
        (1, "shown", None, 0),
        (2, "dropped", "failed", None),
        (3, "dropped", "left-out", None),
    ]
    assert {r.stream for r in records.written} == {"lea/speech"}
    assert speech_figures(records.written).commits == 1
