"""The worker process: a reader over the edge's socket, lanes, and a heartbeat. Ends when the socket does.

Started by `fleet.local` as `python -m streamsvc.worker --control-fd N --ring-fd M --settings JSON`. It warms every
stage up before it says `Ready`, so that the first call pays for no compilation.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import socket
import threading
import time
from dataclasses import replace

import msgspec

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

from streamsvc.budget import MonotonicClock
from streamsvc.budget.dispatcher import OURS
from streamsvc.errors import StreamsvcError
from streamsvc.frames import link
from streamsvc.frames.ring import Ring
from streamsvc.ledger.conditions import resident_bytes
from streamsvc.speech.batcher import WIDTH
from streamsvc.worker.idle import MEMORY, IdleCores
from streamsvc.worker.lanes import Lanes
from streamsvc.worker.openings import Openings
from streamsvc.worker.speakers import Speakers
from streamsvc.worker.views import Views
from streamsvc.worker.warm import check_speech, load_speech, warm_views

log = logging.getLogger("streamsvc.worker")

BEAT_S = 0.25


class Channel:
    """The socket to the edge: framed messages, sent whole from any thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lock = threading.Lock()

    def send(self, message: link.Message) -> None:
        """Send one message; when the edge is gone the process ends, because nobody is left to serve."""
        data = link.encode(message)
        try:
            with self._lock:
                self._socket.sendall(data)
        except OSError:
            os._exit(0)

    def receive(self) -> bytes:
        """Return some bytes, empty when the edge closed."""
        try:
            return self._socket.recv(1 << 18)
        except OSError:
            return b""


class Host:
    """What the lanes and the host have been doing lately."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self.idle = IdleCores()
        self.busy = 0.0

    def look(self) -> float:
        """Return the busy share of all lanes since the last look."""
        self.idle.look()
        load = self._lanes.load()
        self.busy += MEMORY * (load * self._lanes.count - self.busy)
        return load


def beat(channel: Channel, lanes: Lanes, host: Host, views: Views, speakers: Speakers) -> None:
    """Send the heartbeat for ever, plan with it, and see whose sound has stopped."""
    while True:
        views.plan()
        speakers.look()
        channel.send(
            link.Beat(
                overdue_ns=lanes.overdue_ns(),
                load=host.look(),
                waiting=lanes.statistics().waiting,
                resident_bytes=resident_bytes(),
            )
        )
        time.sleep(BEAT_S)


def tell_costs(
    message: link.AskCosts, views: Views, speakers: Speakers, lanes: Lanes, channel: Channel, host: Host
) -> None:
    """Answer what streams cost."""
    idle = host.idle.mean
    channel.send(
        link.Costs(
            id=message.id,
            views=[views.would_cost(view) for view in message.views],
            streams=views.costs(),
            speech=speakers.cost(),
            lanes=lanes.count,
            together=WIDTH,
            busy=host.busy,
            idle=None if math.isinf(idle) else idle,
        )
    )


def handle(
    message: link.ToWorker,
    views: Views,
    openings: Openings,
    speakers: Speakers,
    lanes: Lanes,
    channel: Channel,
    host: Host,
) -> None:
    """Do what the edge asks."""
    match message:
        case link.SetIn() | link.OpenView():
            openings.take(message)
        case link.SoundIn():
            speakers.sound(message)
        case link.GiveOut(slots=slots):
            views.give(slots)
        case link.OpenSpeech():
            speakers.open(message)
        case link.ConfigureSpeech():
            speakers.configure(message)
        case link.AskCosts():
            # Making a ladder takes some hundredths of a second, in which pictures and sound must not wait.
            threading.Thread(
                target=tell_costs, args=(message, views, speakers, lanes, channel, host), daemon=True
            ).start()
        case link.Close(stream=stream):
            speakers.close(stream)
            openings.take(message)


def serve(channel: Channel, ring: Ring, settings: link.WorkerSettings) -> None:
    """Run until the edge closes the socket; raises StreamsvcError when what was asked for can't be had."""
    check_speech(settings)
    clock = MonotonicClock()
    lanes = Lanes(settings.lanes, clock, replace(OURS, together=WIDTH))
    warm = warm_views(settings)
    views = Views(
        ring, lanes, clock, channel.send, device=settings.device, extra_stage_ms=settings.extra_stage_ms, net=warm.net
    )
    speech = load_speech(settings)
    speakers = Speakers(speech.translator, speech.voice, lanes, clock, channel.send, expect=views.expect_speech)
    lanes.start()
    notes = warm.notes + speech.notes
    channel.send(
        link.Ready(
            device=settings.device,
            rungs=warm.rungs,
            policies=speech.policies,
            notes=notes,
            voices=speech.voices,
            backdrops=warm.net is not None,
        )
    )
    host = Host(lanes)
    threading.Thread(target=beat, args=(channel, lanes, host, views, speakers), name="beat", daemon=True).start()
    openings, unframer = Openings(views), link.Unframer()
    while data := channel.receive():
        for body in unframer.feed(data):
            try:
                handle(link.decode_to_worker(body), views, openings, speakers, lanes, channel, host)
            except StreamsvcError as e:
                log.warning("%s", e)
    speakers.close_all()
    lanes.stop()


def main() -> None:
    """Parse the arguments that `fleet` passes and serve."""
    parser = argparse.ArgumentParser(prog="streamsvc.worker")
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--ring-fd", type=int, required=True)
    parser.add_argument("--settings", required=True)
    arguments = parser.parse_args()
    settings = msgspec.json.decode(arguments.settings, type=link.WorkerSettings)
    logging.basicConfig(level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    channel = Channel(socket.socket(fileno=arguments.control_fd))
    try:
        serve(channel, Ring(arguments.ring_fd), settings)
    except StreamsvcError as e:
        channel.send(link.Unable(reason=str(e)))
        os._exit(2)
    os._exit(0)  # a hung lane is a daemon thread that must not hold the process


if __name__ == "__main__":
    main()
