"""Whole calls over real WebRTC: cameras in, views out, and what happens when something breaks."""

import asyncio
import dataclasses
import os
import signal
import sys
import wave
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from calls import BODY, Call, service, until

from streamsvc.edge import Received, colour, live_connections
from streamsvc.edge.errors import EdgeError
from streamsvc.frames import Samples
from streamsvc.frames.outputmode import parse_mode
from streamsvc.ledger import read_ledger
from streamsvc.peer import PeerOptions
from streamsvc.scene import open_scene
from streamsvc.signalling import channels
from streamsvc.signalling import messages as wire
from streamsvc.signalling.client import SignallingClient
from streamsvc.signalling.messages import AppearanceSettings, SignallingError, ViewSettings

VIEW = ViewSettings(width=320, height=240, budget_ms=2000)


def options(url: str, **changes: object) -> PeerOptions:
    return PeerOptions(**{"url": url, "room": "r", "mirror": True, "cameras": BODY, "view": VIEW, **changes})  # type: ignore[arg-type]


def tone(path: Path, hz: float) -> str:
    t = np.arange(48_000 * 20) / 48_000
    with wave.open(str(path), "wb") as f:
        f.setparams((1, 2, 48_000, 0, "NONE", ""))
        f.writeframes((8000 * np.sin(2 * np.pi * hz * t)).astype("<i2").tobytes())
    return str(path)


def loudest_hz(path: Path) -> float:
    with wave.open(str(path)) as f:
        samples = np.frombuffer(f.readframes(f.getnframes()), "<i2").astype(float)
    return float(np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples))))) * 48_000 / len(samples))


class FrameWitness:
    """Keeps what a peer is told of its frame sets."""

    def __init__(self) -> None:
        self.told: list[channels.FrameTrace] = []

    def frames(self, frames: Sequence[channels.FrameTrace]) -> None:
        self.told += frames

    def captured(self, capture_ns: int) -> None: ...

    def picture(self, received: Received, shown_ns: int) -> None: ...

    def sound(self, samples: Samples, heard_ns: int) -> None: ...

    def caption(self, caption: channels.Caption, shown_ns: int) -> None: ...


async def test_a_mirror_shows_the_view_from_where_the_eye_is_and_the_ledger_has_every_frame_set(tmp_path: Path) -> None:
    witness = FrameWitness()
    async with service(tmp_path) as (_, url):
        pictures = []
        for eye in ("-0.3,0,-0.2", "0.3,0,-0.2"):
            async with Call(options(url, eye=eye, witness=witness)) as call:
                await call.sees(30)  # the first ones are older than the eye's first message
                told = len(witness.told)
                await until(lambda told=told: len(witness.told) > told, "the viewer is told of frame sets")
                assert call.peer.latest_frame is not None
                pictures.append(colour.to_rgb(call.peer.latest_frame).astype(float))
                figures = call.peer.figures
        assert all(displayed > captured for captured, displayed in figures.views)
        assert pictures[0].shape == (240, 320, 3) and pictures[0].std() > 20
        assert np.abs(pictures[0] - pictures[1]).mean() > 8
    records = [r for r in read_ledger(tmp_path / "ledger.jsonl") if r.kind == "view"]
    shown = [r for r in records if r.outcome == "shown"]
    assert len(shown) >= 8
    for record in shown:
        names = [s.name for s in record.stages]
        assert names[:3] == ["receive", "align", "convert"] and "disparity" in names and "blend" in names
        assert all(s.start_ns <= s.end_ns for s in record.stages)
        assert record.rung is not None and record.cameras == 2
    by_capture = {r.capture_ns: r for r in records}
    assert len({f.capture_ns for f in witness.told}) == len(witness.told), "each frame set is told once"
    for frame in witness.told:
        record = by_capture[frame.capture_ns]
        assert frame.stages == [(s.name, s.start_ns, s.end_ns) for s in record.stages]
        assert (frame.outcome, frame.displayed_ns, frame.rung) == (record.outcome, record.displayed_ns, record.rung)
    assert any(f.outcome == "shown" and "blend" in [name for name, _, _ in f.stages] for f in witness.told)


def black_video(path: Path) -> str:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=15)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for _ in range(300):
            frame = av.VideoFrame.from_ndarray(np.full((240, 320, 3), 2, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(path)


async def test_who_covers_a_camera_is_told_and_the_view_goes_on_from_the_other(tmp_path: Path) -> None:
    cameras = {"cam0": "synthetic:body", "cam1": black_video(tmp_path / "black.mp4")}
    async with service(tmp_path) as (_, url), Call(options(url, cameras=cameras)) as call:
        await until(lambda: any(n.startswith("camera-covered: cam1 ") for n in call.peer.figures.notices), "a notice")
        await call.sees(10)
        assert call.peer.latest_frame is not None
        assert colour.to_rgb(call.peer.latest_frame).std() > 20
    shown = [r for r in read_ledger(tmp_path / "ledger.jsonl") if r.outcome == "shown"]
    assert {(r.rung, r.quality, r.cameras) for r in shown[-5:]} == {("pass", None, 1)}


async def test_two_people_see_and_hear_each_other_while_another_room_goes_on(tmp_path: Path) -> None:
    async with service(tmp_path) as (running, url):
        a = options(url, mirror=False, name="ana", mic=tone(tmp_path / "a.wav", 440), save=tmp_path / "ana")
        b = options(url, mirror=False, name="ben", mic=tone(tmp_path / "b.wav", 880), save=tmp_path / "ben", cameras={})
        async with Call(options(url, room="other")) as other, Call(b) as ben, Call(a):
            await ben.sees(4)
            await other.sees(4)
            assert len(running.hub.participants) == 3
            with pytest.raises(SignallingError, match="full") as full:
                async with SignallingClient(url) as client:
                    await client.join(wire.Join(room="r", name="eve"))
            assert full.value.code == "room-full"
            await ben.sees(15)
        await until(lambda: not running.hub.participants, "everybody has left")
    assert abs(loudest_hz(tmp_path / "ben" / "speech.wav") - 440) < 5
    assert abs(loudest_hz(tmp_path / "ana" / "speech.wav") - 880) < 5
    assert (
        abs(loudest_hz(tmp_path / "ana" / "speech.wav") - 880) < 5 if (tmp_path / "ana" / "view.mp4").exists() else True
    )


async def test_who_is_shown_hides_their_room_from_the_first_view_on_and_changes_what_is_seen_in_mid_call(
    tmp_path: Path,
) -> None:
    blue, green = (10, 20, 220), (20, 180, 40)

    def room_of(call: Call) -> np.ndarray:
        assert call.peer.latest_frame is not None
        return colour.to_rgb(call.peer.latest_frame)[20:80, 10:70].astype(float)

    def is_plain(room: np.ndarray, wanted: tuple[int, int, int]) -> bool:
        return bool(np.abs(room.mean((0, 1)) - wanted).max() < 20 and room.std((0, 1)).max() < 8)

    async with service(tmp_path) as (running, url):
        hidden = options(url, mirror=False, name="ana", appearance=AppearanceSettings(backdrop="#0a14dc"))
        viewer = options(url, mirror=False, name="ben", cameras={})
        async with Call(viewer) as ben, Call(hidden):
            await ben.sees(1)
            assert is_plain(room_of(ben), blue)
            await ben.sees(10)
            assert is_plain(room_of(ben), blue)
            people = {p.name: p for p in running.hub.participants}
            await people["ana"].configure(wire.Configure(appearance=AppearanceSettings(backdrop="#14b428")))
            await until(lambda: is_plain(room_of(ben), green), "the new colour is seen")
            with pytest.raises(SignallingError, match="rig with a pair"):
                await people["ben"].configure(wire.Configure(appearance=AppearanceSettings(backdrop="blur")))
            await people["ana"].configure(wire.Configure(appearance=AppearanceSettings(backdrop="room")))
            await until(lambda: room_of(ben).std() > 20, "the room is seen")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_worker_that_is_killed_or_hangs_is_replaced_and_the_call_survives(
    tmp_path: Path, how: signal.Signals
) -> None:
    async with service(tmp_path) as (running, url), Call(options(url)) as call:
        await call.sees()
        first = running.worker.pid
        assert first is not None
        os.kill(first, how)
        await until(lambda: running.worker.up and running.worker.pid != first, "a new worker is up")
        await call.sees(5)
        assert running.worker.statistics().restarts == 1
        assert any(n.startswith("worker-lost") for n in call.peer.figures.notices)
        assert any(n.startswith("worker-back") for n in call.peer.figures.notices)


async def test_a_stage_slower_than_the_frame_period_drops_whole_sets_and_queues_nothing(tmp_path: Path) -> None:
    async with service(tmp_path, extra_stage_ms=166.0) as (running, url), Call(options(url)) as call:
        await call.sees(20)
        assert running.worker.statistics().waiting <= 2
    records = [r for r in read_ledger(tmp_path / "ledger.jsonl") if r.kind == "view"]
    # The planner thins as soon as it knows what a set costs; until then sets are overtaken or late.
    assert {r.reason for r in records if r.outcome == "dropped"} & {"thinned", "superseded", "hopeless"}
    shown = [r for r in records if r.displayed_ns is not None]
    assert all(r.cameras == 2 for r in shown)
    # Between the capture of a shown set and its display no more sets were captured than may be in the pipeline.
    for record in shown[5:]:
        assert record.displayed_ns is not None
        during = [r for r in records if record.capture_ns < r.capture_ns < record.displayed_ns]
        assert len(during) <= 12


async def test_a_peer_that_is_killed_frees_its_room_and_leaves_the_others_alone(tmp_path: Path) -> None:
    async with service(tmp_path) as (running, url), Call(options(url, room="steady")) as steady:
        command = f"-m streamsvc.cli peer {url} --room gone --mirror --camera cam0=synthetic:body"
        victim = await asyncio.create_subprocess_exec(sys.executable, *command.split())
        await until(lambda: len(running.hub.participants) == 2, "the victim has joined")
        victim.kill()
        await victim.wait()
        await until(lambda: len(running.hub.participants) == 1, "the victim was noticed to be gone")
        await steady.sees()
    await until(lambda: live_connections() == 0, "all connections are closed")


async def test_a_changed_view_size_is_followed(tmp_path: Path) -> None:
    async with service(tmp_path) as (running, url), Call(options(url)) as call:
        await call.sees()
        participant = running.hub.participants[0]
        await participant.configure(wire.Configure(view=ViewSettings(width=160, height=120)))
        await until(
            lambda: call.peer.latest_frame is not None and call.peer.latest_frame.width == 160, "a view of the new size"
        )


async def test_an_output_mode_is_switched_in_mid_call_and_a_packed_view_comes_with_its_depth(tmp_path: Path) -> None:
    async with service(tmp_path) as (running, url), Call(options(url, eye="0.05,0,-0.1")) as call:

        def size() -> tuple[int, int] | None:
            frame = call.peer.latest_frame
            return None if frame is None else (frame.width, frame.height)

        async def switch(mode: str) -> np.ndarray:
            configured = await participant.configure(wire.Configure(view=ViewSettings(mode=mode)))
            assert configured.settings["view"]["mode"] == mode
            await until(lambda: size() == parse_mode(mode).picture_size(320, 240), f"a {mode} picture")
            await call.sees(5)
            assert call.peer.latest_frame is not None
            return colour.to_rgb(call.peer.latest_frame)

        await call.sees()
        assert size() == (320, 240) and call.peer.latest_packed is None
        participant = running.hub.participants[0]
        stereo = (await switch("stereo")).astype(float)
        left, right = stereo[:, :320], stereo[:, 320:]
        assert 2 < np.abs(left - right).mean() < 40, "two views of one scene"

        eye = pytest.approx((0.05, 0, -0.1), abs=1e-6)
        await switch("packed")
        await until(lambda: call.peer.latest_packed.eye == eye, "the view is from the eye that was told")
        await call.sees(3)
        packed, told = colour.to_rgb(call.peer.latest_frame), call.peer.latest_packed
        assert (told.width, told.height) == (360, 272) and told.eye == eye
        assert told.screen["right"][0] > 0.3
        code = told.inverse_far + packed[272:, :, 1].astype(float) / 255 * (told.inverse_near - told.inverse_far)
        person, wall = 1 / np.median(code[90:130, 150:210]), 1 / np.percentile(code, 10)
        assert 0.5 < person < 1.2 < wall < 3, "metres from the eye: the person stands before the wall"

        assert (await switch("window")).shape == (240, 320, 3)
        with pytest.raises(SignallingError, match="there are window, stereo"):
            await participant.configure(wire.Configure(view=ViewSettings(mode="hologram")))
        await call.sees()


async def test_one_camera_without_a_rig_passes_through_and_a_rig_without_a_screen_gets_a_window(tmp_path: Path) -> None:
    film = tmp_path / "film.avi"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("mjpeg", rate=15)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuvj420p"
        for _ in range(15):
            picture = np.full((240, 320, 3), (200, 60, 40), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    async with service(tmp_path) as (_, url):
        async with Call(options(url, cameras={"cam0": str(film)})) as call:
            await call.sees(5)
            assert call.peer.latest_frame is not None
            centre = colour.to_rgb(call.peer.latest_frame)[100:140, 140:180].reshape(-1, 3).mean(axis=0)
            assert np.abs(centre - (200, 60, 40)).max() < 8
        rig = dataclasses.replace(open_scene("body").rig(2, 320, 240), screen=None)
        async with Call(options(url, rig=rig, eye="sway")) as call:
            await call.sees(5)
            assert call.peer.screen is not None, "the service estimated a window"


async def test_a_bad_offer_or_setting_is_an_error_answer_and_the_session_goes_on(tmp_path: Path) -> None:
    async with service(tmp_path) as (_, url), Call(options(url)) as call:
        async with SignallingClient(url) as client:
            joined = await client.join(wire.Join(room="x", name="eve", mirror=True))
            assert joined.rungs and joined.settings["view"]["budget_ms"] == 400
            for sdp in ("hello", "v=0\r\n", "v=0\r\n" + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n" * 40):
                with pytest.raises((SignallingError, EdgeError)) as bad:
                    await client.offer(wire.Offer(sdp=sdp))
                assert bad.value.code == "bad-sdp"
            with pytest.raises(SignallingError, match="rung") as bad_rung:
                await client.configure(wire.Configure(view=ViewSettings(rung="16k")))
            assert bad_rung.value.code == "bad-settings"
            with pytest.raises(SignallingError, match="joined"):
                await client.join(wire.Join(room="y", name="eve"))
        await call.sees()


async def test_a_rig_that_cannot_be_used_is_refused_at_the_door(tmp_path: Path) -> None:
    async with service(tmp_path) as (running, url), SignallingClient(url) as client:
        with pytest.raises(SignallingError, match="singular"):
            camera = {"name": "a", "width": 64, "height": 64, "K": [[0] * 3] * 3, "dist": [0] * 5, "R": [], "t": []}
            await client.join(wire.Join(room="x", name="eve", rig={"version": 1, "cameras": [camera], "pairs": []}))
        assert not running.hub.participants and not running.hub.rooms.rooms()


async def test_sigterm_ends_the_service_with_a_call_open(tmp_path: Path) -> None:
    from streamsvc.demo import running_service

    async with running_service(tmp_path, "--no-speech") as (url, process), Call(options(url)) as call:
        await call.sees()
        process.terminate()
        await until(lambda: process.returncode is not None, "the process has ended", 20.0)
        assert process.returncode == 0
        call.stop.set()
