"""WHIP in and WHEP out with a client that is none of our code: stock aiortc and urllib."""

from __future__ import annotations

import asyncio
import fractions
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from aiortc.mediastreams import AudioStreamTrack
from calls import Call, service, until

from streamsvc.edge import live_connections
from streamsvc.frames.clockmap import ARRIVAL_ERROR_NS
from streamsvc.ledger import read_ledger
from streamsvc.ledger.book import UNREPORTED
from streamsvc.peer import PeerOptions
from streamsvc.service import Service
from streamsvc.signalling.client import SignallingClient
from streamsvc.signalling.messages import Join, ViewSettings

COLOUR = (200, 60, 40)
HZ = 700
SDP = {"Content-Type": "application/sdp"}


class Film(VideoStreamTrack):
    """One colour."""

    async def recv(self) -> av.VideoFrame:
        frame = av.VideoFrame.from_ndarray(np.full((240, 320, 3), COLOUR, np.uint8), format="rgb24")
        frame.pts, frame.time_base = await self.next_timestamp()
        return frame


class Tone(AudioStreamTrack):
    """A sine; the stock track of silence keeps the time."""

    async def recv(self) -> av.AudioFrame:
        silence = await super().recv()
        n = silence.samples
        t = (silence.pts + np.arange(n)) / silence.sample_rate
        frame = av.AudioFrame.from_ndarray((8000 * np.sin(2 * np.pi * HZ * t)).astype("<i2")[None], "s16", "mono")
        frame.pts, frame.sample_rate = silence.pts, silence.sample_rate
        frame.time_base = fractions.Fraction(1, silence.sample_rate)
        return frame


class Taken:
    """What a track brings."""

    def __init__(self) -> None:
        self.frames: list[av.VideoFrame | av.AudioFrame] = []
        self.tasks: list[asyncio.Task[None]] = []

    def take(self, track: MediaStreamTrack) -> None:
        async def read() -> None:
            while True:
                self.frames.append(await track.recv())

        self.tasks.append(asyncio.create_task(read()))

    def of(self, kind: type) -> list[av.VideoFrame | av.AudioFrame]:
        return [f for f in self.frames if isinstance(f, kind)]

    def colour(self) -> np.ndarray:
        frame = self.of(av.VideoFrame)[-1]
        return frame.to_ndarray(format="rgb24")[100:140, 140:180].reshape(-1, 3).mean(axis=0)

    def loudest_hz(self) -> float:
        frames = self.of(av.AudioFrame)[-50:]
        mono = np.concatenate([f.to_ndarray().reshape(-1, len(f.layout.channels))[:, 0] for f in frames]).astype(float)
        spectrum = np.abs(np.fft.rfft(mono * np.hanning(len(mono))))
        return float(np.argmax(spectrum) * frames[0].sample_rate / len(mono))


async def request(method: str, url: str, body: str | None = None, **headers: str) -> tuple[int, dict[str, str], str]:
    def send() -> tuple[int, dict[str, str], str]:
        data = None if body is None else body.encode()
        asked = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked) as r:
            return r.status, dict(r.headers.items()), r.read().decode()

    return await asyncio.to_thread(send)


class Client:
    """A stock peer connection and the address of its session."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.taken = Taken()
        self.pc.on("track", self.taken.take)
        self.answer = ""
        self.session = ""

    async def call(self, path: str, *, trickle: bool = False) -> None:
        await self.pc.setLocalDescription(await self.pc.createOffer())
        sdp = self.pc.localDescription.sdp
        lines = sdp.split("\r\n")
        sent = [line for line in lines if not (trickle and line.startswith(("a=candidate", "a=end-of-candidates")))]
        status, headers, self.answer = await request("POST", self.url + path, "\r\n".join(sent), **SDP)
        assert (status, headers["content-type"]) == (201, "application/sdp")
        self.session = self.url + headers["location"]
        if trickle:
            keep = ("a=ice-ufrag", "a=ice-pwd", "a=candidate", "a=end-of-candidates", "a=mid")
            fragment = "\r\n".join(line for line in sdp.split("m=")[1].split("\r\n")[1:] if line.startswith(keep))
            more = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": headers["etag"]}
            assert (await request("PATCH", self.session, fragment + "\r\n", **more))[0] == 204
        await self.pc.setRemoteDescription(RTCSessionDescription(self.answer, "answer"))

    async def end(self) -> None:
        assert (await request("DELETE", self.session))[0] == 200

    def directions(self) -> list[str]:
        return [line[2:] for line in self.answer.split("\r\n") if line[2:] in ("sendonly", "recvonly", "sendrecv")]


@asynccontextmanager
async def client(url: str, *tracks: MediaStreamTrack, receive: tuple[str, ...] = ()) -> AsyncIterator[Client]:
    """A client that sends `tracks` and receives what `receive` names, in sections of their own."""
    it = Client(url)
    for track in tracks:
        it.pc.addTransceiver(track, "sendonly")
    for kind in receive:
        it.pc.addTransceiver(kind, "recvonly")
    try:
        yield it
    finally:
        await it.pc.close()
        for task in it.taken.tasks:
            task.cancel()
        await asyncio.gather(*it.taken.tasks, return_exceptions=True)


async def empty(running: Service) -> None:
    await until(lambda: not running.hub.participants and not live_connections(), "everybody left")
    assert not running.hub.rooms.rooms()


async def test_a_stock_viewer_sees_and_hears_a_stock_publisher_and_delete_ends_both(tmp_path: Path) -> None:
    async with (
        service(tmp_path) as (running, url),
        client(url, Film(), Tone()) as publisher,
        client(url, receive=("video", "audio")) as viewer,
    ):
        await publisher.call("/whip/r")
        await viewer.call("/whep/r?width=160&height=120", trickle=True)
        assert publisher.directions() == ["recvonly"] * 2 and viewer.directions() == ["sendonly"] * 2
        await until(lambda: len(viewer.taken.of(av.VideoFrame)) >= 20, "the viewer sees")
        await until(lambda: len(viewer.taken.of(av.AudioFrame)) >= 150, "the viewer hears")
        shown = viewer.taken.of(av.VideoFrame)[-1]
        assert (shown.width, shown.height) == (160, 120)
        assert np.abs(viewer.taken.colour() - COLOUR).max() < 12
        assert abs(viewer.taken.loudest_hz() - HZ) < 5
        assert not publisher.taken.frames
        watchers = [p.watching is not None for p in running.hub.participants]
        assert watchers == [False, True], "no view is made for whoever only sends"
        await viewer.end()
        await publisher.end()
        await empty(running)
    views = [r for r in read_ledger(tmp_path / "ledger.jsonl") if r.kind == "view"]
    made = [r for r in views if r.rung is not None]
    reasons = {UNREPORTED, "out-of-order", "closed"}  # one may be under way when they hang up
    assert made and {r.outcome for r in made} == {"dropped"} and {r.reason for r in made} <= reasons
    assert UNREPORTED in {r.reason for r in made}
    assert all(r.clock_error_ns == ARRIVAL_ERROR_NS and r.capture_ns < r.deadline_ns for r in made)


async def test_a_publisher_is_a_peer_like_any_other_and_ends_by_closing(tmp_path: Path) -> None:
    async with service(tmp_path) as (running, url), client(url, Film()) as publisher:
        await publisher.call("/whip/r?name=Studio")
        async with SignallingClient(url) as browser:
            assert (await browser.join(Join(room="r", name="Ana"))).peers == ["Studio"]
            await browser.leave()
        await until(lambda: len(running.hub.participants) == 1, "Ana left")
        view = ViewSettings(width=320, height=240, budget_ms=2000)
        options = PeerOptions(url=url, room="r", cameras={"cam0": "synthetic:body"}, view=view)
        async with Call(options) as call:
            await call.sees(5)
            await publisher.pc.close()
            await until(lambda: len(running.hub.participants) == 1, "the publisher has gone by itself")
        await empty(running)


async def test_one_kind_alone_is_enough_either_way(tmp_path: Path) -> None:
    async with service(tmp_path) as (running, url):
        for track, kind, frame in ((Film(), "video", av.VideoFrame), (Tone(), "audio", av.AudioFrame)):
            async with client(url, track) as publisher, client(url, receive=(kind,)) as viewer:
                await viewer.call("/whep/r")
                await publisher.call("/whip/r")
                await until(lambda viewer=viewer, frame=frame: len(viewer.taken.of(frame)) >= 5, f"{kind} comes")
                await publisher.end()
                await viewer.end()
                await empty(running)


async def test_a_mirror_shows_one_client_to_itself(tmp_path: Path) -> None:
    async with service(tmp_path) as (running, url), client(url, Film(), receive=("audio",)) as both:
        both.pc.getTransceivers()[0].direction = "sendrecv"
        await both.call("/whip/r?mirror")
        await until(lambda: len(both.taken.of(av.VideoFrame)) >= 5, "the picture comes back")
        await both.end()
        await empty(running)
