"""A participant's voice on its way to whoever listens."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from streamsvc.budget import MockClock
from streamsvc.frames import OUTPUT_RATE, SPEECH_RATE, link
from streamsvc.frames.ring import Slots
from streamsvc.ledger import Ledger
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
        self.configured: list[link.ConfigureSpeech] = []
        self.heard = 0
        self.tell: Callable[[link.FromWorker], None] = lambda message: None

    def open(self, message: link.OpenView | link.OpenSpeech, listener: Callable[[link.FromWorker], None]) -> None:
        self.opened.append(message.stream)
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


def speaking(worker: Any, ledger: Ledger) -> Speaking:
    return Speaking(
        session="lea", name="Lea", settings=SETTINGS, worker=worker, ledger=ledger, clock=MockClock(),
        tell=lambda code, message: None,
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
    worker.tell(link.Said(stream=lea.stream, id=1, text="good", source_start_ms=0, source_end_ms=500, audio_ms=900))
    said = sam.captions[-1]
    assert isinstance(said, Caption) and (said.source_start_ms, said.source_end_ms) == (1000, 1500)
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
            worker.tell(
                link.Said(stream=lea.stream, id=number, text="good", source_start_ms=0, source_end_ms=500, audio_ms=900)
            )
        worker.tell(link.Revised(stream=lea.stream, ids=[0, 1], text="very good"))
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
        worker.tell(link.SoundOut(stream=lea.stream, ids=[1], samples=np.zeros(OUTPUT_RATE, "<f4").tobytes()))
        lea.original(np.ones(960, np.float32), 0)
    assert reader.mixer.statistics().speech_backlog_ms == 0
    assert not reader.mixer.read(960).any()
