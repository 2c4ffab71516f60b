"""Hardware encoders: what is tried, what is refused and why, and that a call goes on when one fails.

No machine that runs this has one, so x264 stands in for it, as a candidate of its own or inside a `Chip` that goes
wrong on order; both go through the code that a real one goes through.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import av
import msgspec
import numpy as np
import pytest
from av.video.frame import PictureType

from streamsvc import doctor
from streamsvc.budget.clock import MockClock
from streamsvc.config import ConfigError, load
from streamsvc.edge import Connection, EdgeError, Hardware, VideoOut, codecs, driver, hardware_probe
from streamsvc.edge.codecs import H264Encoder
from streamsvc.edge.hardware import CANDIDATES, REST_NS, Candidate, Found, open_encoder
from streamsvc.edge.hardware_probe import Opener, Search, absent, find, first_working, probe
from streamsvc.ledger import Ledger
from streamsvc.ledger.live import LiveBoard
from streamsvc.service import Service
from streamsvc.session.hub import CallHub
from streamsvc.signalling import messages as wire
from streamsvc.signalling.grants import Grant

STAND_IN = Candidate(
    name="libx264",
    title="a stand-in",
    formats=("nv12",),
    options={"preset": "ultrafast", "tune": "zerolatency", "forced-idr": "1"},
)
NVENC = msgspec.structs.replace(CANDIDATES[0], devices=())
FOUND = Found(STAND_IN, "nv12")
WIDTH, HEIGHT = 320, 240


class Chip:
    """An encoder in hardware: x264 underneath, named and failing as the test says."""

    def __init__(
        self,
        codec: Any,
        *,
        raises_at: int | None = None,
        silent_from: int | None = None,
        holds: int = 0,
        edit: Callable[[bytes], bytes] = lambda data: data,
        before: Callable[[Any], Any] = lambda frame: frame,
    ) -> None:
        self.codec, self.pictures, self.held = codec, 0, [None] * holds
        self.both = False
        self.raises_at, self.silent_from, self.edit, self.before = raises_at, silent_from, edit, before
        self.options = codec.options

    @property
    def bit_rate(self) -> int:
        return int(self.codec.bit_rate)

    @bit_rate.setter
    def bit_rate(self, rate: int) -> None:
        self.codec.bit_rate = rate

    def encode(self, frame: Any) -> list[Any]:
        number, self.pictures = self.pictures, self.pictures + 1
        if number == self.raises_at:
            raise av.ExternalError(1, "the device is gone")
        if self.silent_from is not None and number >= self.silent_from:
            return []
        self.held += [self._edited(p) for p in self.codec.encode(self.before(frame))]
        out, self.held = (self.held, []) if self.both else (self.held[:1], self.held[1:])
        return [packet for packet in out if packet is not None]

    def _edited(self, packet: Any) -> Any:
        made = av.Packet(self.edit(bytes(packet)))
        made.pts, made.time_base = packet.pts, packet.time_base
        return made


def opener(**wrong: Any) -> Opener:
    return lambda found, *rest: Chip(open_encoder(found, *rest), **wrong)


def without_later_headers() -> Callable[[bytes], bytes]:
    seen: list[bytes] = []

    def edit(data: bytes) -> bytes:
        units = [u for u in codecs.nal_units(data) if not seen or u[0] & 0x1F not in (7, 8)]
        seen.append(data)
        return b"".join(b"\0\0\0\1" + u for u in units)

    return edit


def every_picture_a_keyframe(frame: Any) -> Any:
    frame.pict_type = PictureType.I
    return frame


def no_picture_a_keyframe(frame: Any) -> Any:
    frame.pict_type = PictureType.NONE
    return frame


def black(frame: Any) -> Any:
    planes = np.zeros((frame.height * 3 // 2, frame.width), np.uint8)
    planes[frame.height :] = 128
    made = av.VideoFrame.from_ndarray(planes, format="nv12")
    made.pts, made.time_base, made.pict_type = frame.pts, frame.time_base, frame.pict_type
    return made


def smaller(found: Found, width: int, height: int, bit_rate: int, fps: int) -> Any:
    return open_encoder(found, width // 2, height // 2, bit_rate, fps)


def high_profile(found: Found, *rest: int) -> Any:
    candidate = msgspec.structs.replace(found.candidate, options={"preset": "fast", "tune": "zerolatency"})
    codec = codecs.video_context(candidate.name, rest[0], rest[1], bit_rate=rest[2], fps=rest[3], pixel_format="nv12")
    codec.options, codec.max_b_frames = candidate.options, 0
    codec.open()
    codec.options = {}
    return codec


# What is tried.


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda c: c.name)
def test_every_option_and_its_value_is_one_that_ffmpeg_has(candidate: Candidate) -> None:
    known = {o.name: o for o in av.CodecContext.create(candidate.name, "w").supported_options.private}  # type: ignore[attr-defined]
    for name, value in candidate.options.items():
        option = known[name]
        choices = {c.name for c in option.choices}
        assert value in choices or (not choices and option.min <= int(value) <= option.max), name
    formats = {f.name for f in av.codec.Codec(candidate.name, "w").video_formats or ()}
    assert formats >= set(candidate.formats) or not formats


def test_the_setting_takes_the_candidates_by_name() -> None:
    assert load(None, {}, {}).view.encoder == "auto"
    for name in ("software", *(c.name for c in CANDIDATES)):
        assert load(None, {"STREAMSVC_VIEW_ENCODER": name}, {}).view.encoder == name
    with pytest.raises(ConfigError, match=r"h264_nvenc, .*, software, not 'nvenc'"):
        load(None, {}, {"view.encoder": "nvenc"})


def test_what_can_not_work_is_not_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    (tmp_path / "card0").touch()
    unknown, nowhere, there = (
        msgspec.structs.replace(STAND_IN, name=name, devices=(str(tmp_path / device),))
        for name, device in (("h264_no_such", "card*"), ("libx264", "disk*"), ("libx264", "card*"))
    )
    assert "built without it" in str(absent(unknown)) and str(absent(nowhere)) == f"no {tmp_path}/disk*"
    assert absent(there) is None and absent(STAND_IN) is None
    monkeypatch.setattr(hardware_probe.os, "access", lambda *_: False)
    assert str(absent(there)) == f"no permission to open {tmp_path}/card0"


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
@pytest.mark.parametrize("retunes", [False, True])
def test_an_encoder_that_does_what_a_call_needs_is_found(pixel_format: str, retunes: bool) -> None:
    candidate = msgspec.structs.replace(STAND_IN, formats=("yuv444p", pixel_format), retunes=retunes)
    assert probe(candidate).pixel_format == pixel_format


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (opener(raises_at=3), "the device is gone"),
        (opener(silent_from=3), "0 packets came out for picture 4"),
        (opener(holds=1), "0 packets came out for picture 1"),
        (opener(before=no_picture_a_keyframe), "picture 5 is no keyframe though one was asked for"),
        (opener(before=every_picture_a_keyframe), "picture 2 is a keyframe that nobody asked for"),
        (opener(edit=without_later_headers()), "keyframe 5 comes without its parameter sets"),
        (opener(before=black), "steps off"),
        (smaller, "640x480 came back as 320x240"),
        (high_profile, "the profile is 100"),
    ],
    ids=["raises", "silent", "holds", "no keyframes", "keyframes", "no headers", "black", "size", "profile"],
)
def test_one_that_does_anything_else_is_refused_with_the_reason(wrong: Opener, words: str) -> None:
    found = probe(STAND_IN, wrong)
    assert found.pixel_format is None and words in found.why


def test_an_option_that_ffmpeg_lacks_is_refused_by_name() -> None:
    odd = msgspec.structs.replace(STAND_IN, options={**STAND_IN.options, "zerolatancy": "1"})
    assert probe(odd).why == "FFmpeg's encoder has no option zerolatancy"


async def test_the_first_that_works_is_found_in_a_process_of_its_own_and_in_silence(
    capfd: pytest.CaptureFixture[str],
) -> None:
    search = await first_working([NVENC, STAND_IN])
    assert search.found == FOUND
    assert "libcuda" in search.refused["h264_nvenc"] or "nvenc" in search.refused["h264_nvenc"].lower()
    assert str(search).startswith("libx264 (a stand-in); h264_nvenc: ")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("PATIENCE_S", 0.0, "had not encoded 8 pictures after 0 s"), ("sys.executable", "/bin/false", "ended with 1")],
    ids=["hangs", "dies"],
)
async def test_a_driver_that_hangs_or_dies_takes_nothing_with_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: Any, words: str
) -> None:
    monkeypatch.setattr(f"streamsvc.edge.hardware_probe.{name}", value)
    search = await first_working([STAND_IN])
    assert search.found is None and words in search.refused["libx264"]


async def test_the_setting_decides_what_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    async def tried_apart(candidate: Candidate) -> hardware_probe.Outcome:
        tried.append(candidate.name)
        return hardware_probe.Outcome(why="no")

    monkeypatch.setattr(hardware_probe, "_tried_apart", tried_apart)
    candidates = [NVENC, STAND_IN]
    assert await find("software", candidates) == Search(None, {}) and not tried
    assert (await find("auto", candidates)).refused == {"h264_nvenc": "no", "libx264": "no"}
    tried.clear()
    with pytest.raises(EdgeError, match=r"libx264 does not work here \(no\); auto or software does"):
        await find("libx264", candidates)
    assert tried == ["libx264"]


def test_the_doctor_says_what_was_found_and_why_the_others_were_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async def found(_: str) -> Search:
        return searches.pop()

    searches = [Search(None, {"h264_nvenc": "no GPU"}), Search(FOUND, {"h264_nvenc": "no GPU"})]
    monkeypatch.setattr(hardware_probe, "find", found)
    first, second = doctor.hardware_encoder(), doctor.hardware_encoder()
    assert (first.ok, first.detail) == (True, "libx264 (a stand-in); h264_nvenc: no GPU")
    assert (second.ok, second.detail) == (None, "none, x264 encodes: h264_nvenc: no GPU")


# What a process uses.


def test_one_that_failed_rests_at_that_size_and_it_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = MockClock()
    hardware = Hardware(clock)
    assert hardware.pick(1280, 720) is None and hardware.name is None
    hardware.use(FOUND)
    assert hardware.pick(1280, 720) is FOUND and hardware.pick(1280, 128) is None
    for _ in range(2):
        hardware.failed(1280, 720, "out of sessions")
    assert [r.message for r in caplog.records] == [
        "libx264 failed at 1280x720; x264 takes over, for 5 minutes: out of sessions"
    ]
    assert hardware.pick(1280, 720) is None and hardware.pick(640, 480) is FOUND
    clock.advance(REST_NS)
    assert hardware.pick(1280, 720) is FOUND


def test_h264_is_preferred_for_large_pictures_and_for_all_with_a_named_encoder() -> None:
    hardware = Hardware()
    assert not hardware.prefers(1280, 720)
    hardware.use(FOUND)
    assert hardware.prefers(1280, 720) and not hardware.prefers(640, 480)
    hardware.use(FOUND, always=True)
    assert hardware.prefers(640, 480) and not hardware.prefers(64, 64)


@pytest.fixture
async def hub() -> AsyncIterator[CallHub]:
    class Worker:
        ready = ring = None
        up = False

        def on_state(self, listener: Callable[[bool], None]) -> None: ...
        def open(self, *_: Any) -> None: ...
        def close(self, *_: Any) -> None: ...

    ledger, settings = Ledger(), load(None, {}, {"limits.admission": False})
    made = CallHub(settings, worker=Worker(), ledger=ledger, board=LiveBoard(), clock=MockClock())  # type: ignore[arg-type]
    yield made
    await made.close()
    ledger.close()


async def test_a_call_prefers_what_its_size_asks_for_and_keeps_to_it(hub: CallHub) -> None:
    async def first_codec(participant: Any) -> str:
        peer = Connection()
        answer = await participant.offer(wire.Offer(sdp=await peer.offer([VideoOut()], None)), Grant(until=4e9))
        await peer.close()
        lines = answer.sdp.splitlines()
        payload = next(line.split()[3] for line in lines if line.startswith("m=video"))
        return next(line.split()[1] for line in lines if line.startswith(f"a=rtpmap:{payload} "))

    large = wire.ViewSettings(width=1280, height=720)
    before, _ = await hub.join(wire.Join(room="lab", name="Ana", view=large), lambda _: None)
    assert await first_codec(before) == "VP8/90000"
    hub.hardware.use(FOUND)
    after, _ = await hub.join(wire.Join(room="lab", name="Ben", view=large), lambda _: None)
    small, _ = await hub.join(wire.Join(room="den", name="Cid"), lambda _: None)
    assert await first_codec(after) == "H264/90000" and await first_codec(small) == "VP8/90000"
    assert await first_codec(before) == "VP8/90000", "a recording can't change its codec"


@pytest.mark.parametrize(("wanted", "small"), [("auto", False), ("h264_nvenc", True)])
async def test_the_service_uses_what_it_found_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, wanted: str, small: bool
) -> None:
    async def found(asked: str) -> Search:
        assert asked == wanted
        return Search(FOUND, {"h264_nvenc": "no GPU"})

    monkeypatch.setattr("streamsvc.service.find", found)
    caplog.set_level("INFO", "streamsvc.service")
    service = Service(load(None, {}, {"view.encoder": wanted}))
    assert service.health()["hardware_encoder"] is None
    await service._find_hardware()
    assert service.health()["hardware_encoder"] == "libx264"
    assert service.hub.hardware.prefers(640, 480) is small
    assert caplog.messages == ["hardware encoder: libx264 (a stand-in); h264_nvenc: no GPU"]
    service.ledger.close()


# In a call.


class Call:
    """An encoder that has a `Chip`, and what a viewer makes of what comes out of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, candidate: Candidate = STAND_IN, **wrong: Any) -> None:
        self.chips: list[Chip] = []
        self.threads: list[threading.Thread] = []
        chip = msgspec.structs.replace(candidate, name="h264_chip")

        def opened(found: Found, *rest: int) -> Chip:
            assert found == Found(chip, "nv12") and not any(t.is_alive() for t in self.threads)
            self.threads.append(threading.current_thread())
            self.chips.append(Chip(open_encoder(Found(candidate, "nv12"), *rest), **wrong))
            return self.chips[-1]

        monkeypatch.setattr(driver, "open_encoder", opened)
        self.clock = MockClock()
        self.hardware = Hardware(self.clock)
        self.hardware.use(Found(chip, "nv12"))
        self.encoder = H264Encoder(self.hardware)
        self._viewer: Any = av.CodecContext.create("h264", "r")
        self._sent = 0

    def send(
        self, count: int, size: tuple[int, int] = (WIDTH, HEIGHT), *, force: bool = False
    ) -> list[tuple[str | None, bool, int]]:
        """Send moving pictures; return for each the encoder, whether it is a keyframe, and how many were decoded."""
        told = []
        for _ in range(count):
            picture = np.roll(np.arange(size[0] * size[1] * 3) % 251, self._sent * 97).astype(np.uint8)
            self.encoder.encode(picture.reshape(size[1], size[0], 3), 3000 * self._sent, force)
            self._sent += 1
            last = self.encoder.last
            assert last is not None and (last.width, last.height) == size
            decoded = self._viewer.decode(av.Packet(last.data)) if last.data else []
            told.append((self.encoder.encoder_name, last.keyframe, len(decoded)))
        return told


def test_hardware_encodes_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Call(monkeypatch)
    assert call.send(3) == [("h264_chip", i == 0, 1) for i in range(3)]
    assert call.send(1, force=True) == [("h264_chip", True, 1)]
    assert call.send(1, (640, 480)) == [("h264_chip", True, 1)] and len(call.chips) == 2
    assert call.encoder.fallbacks == 0


def test_one_that_raises_is_replaced_without_a_lost_picture_and_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    call = Call(monkeypatch, raises_at=2)
    told = call.send(5)
    assert told[:2] == [("h264_chip", True, 1), ("h264_chip", False, 1)]
    assert told[2:] == [("libx264", True, 1), ("libx264", False, 1), ("libx264", False, 1)]
    assert call.encoder.fallbacks == 1 and [r.levelname for r in caplog.records] == ["WARNING"]
    assert "the device is gone" in caplog.text
    another = H264Encoder(call.hardware)
    another.encode(np.zeros((HEIGHT, WIDTH, 3), np.uint8), 0, False)
    assert another.encoder_name == "libx264" and another.fallbacks == 0 and len(call.chips) == 1
    call.threads[0].join(20)
    assert not call.threads[0].is_alive(), "what failed is freed"
    call.clock.advance(REST_NS)
    assert call.send(1)[0][0] == "libx264", "what goes well is not disturbed"
    again = H264Encoder(call.hardware)
    again.encode(np.zeros((HEIGHT, WIDTH, 3), np.uint8), 0, False)
    assert again.encoder_name == "h264_chip"


@pytest.mark.parametrize("wrong", [{"silent_from": 2}, {"holds": 1}], ids=["silent", "late for good"])
def test_one_that_owes_pictures_is_replaced_at_the_third(
    monkeypatch: pytest.MonkeyPatch, wrong: dict[str, int]
) -> None:
    call = Call(monkeypatch, **wrong)
    told = call.send(6)
    at = next(i for i, (name, _, _) in enumerate(told) if name == "libx264")
    assert at == wrong.get("silent_from", 0) + 2
    assert told[at:] == [("libx264", i == at, 1) for i in range(at, 6)]
    assert call.encoder.fallbacks == 1


def test_one_that_can_not_be_opened_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    hardware = Hardware()
    hardware.use(Found(NVENC, "yuv420p"))
    encoder = H264Encoder(hardware)
    encoder.encode(np.zeros((HEIGHT, WIDTH, 3), np.uint8), 0, False)
    assert encoder.last is not None and encoder.last.keyframe and encoder.encoder_name == "libx264"
    assert "h264_nvenc failed at 320x240" in caplog.text and "it can't be opened" in caplog.text
    assert encoder.fallbacks == 1 and hardware.pick(WIDTH, HEIGHT) is None


def test_one_late_picture_is_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Call(monkeypatch)
    call.send(1)
    call.chips[0].held = [None]
    assert call.send(1) == [("h264_chip", False, 0)]
    call.chips[0].both = True
    assert [name for name, _, _ in call.send(5)] == ["h264_chip"] * 5


def test_one_that_makes_no_keyframe_on_request_is_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    call = Call(monkeypatch)
    call.send(2)
    call.chips[0].before = no_picture_a_keyframe
    assert call.send(2, force=True)[0] == ("libx264", True, 1)
    assert "made no keyframe when it was asked for one" in caplog.text and call.encoder.fallbacks == 1


def test_one_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    call, forever = Call(monkeypatch), threading.Event()
    call.send(1)
    call.chips[0].before = lambda frame: forever.wait()
    monkeypatch.setattr(driver, "ENCODE_S", 0.02)
    assert call.send(2) == [("libx264", True, 1), ("libx264", False, 1)]
    assert "nothing came back after 0.02 s" in caplog.text
    forever.set()


def test_an_encoder_is_freed_when_nobody_refers_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    call, freed = Call(monkeypatch), threading.Event()
    call.send(1)
    weakref.finalize(call.chips.pop(), freed.set)
    del call.encoder
    assert freed.wait(20)


@pytest.mark.parametrize("retunes", [True, False])
def test_a_new_bitrate_is_taken_when_it_is_worth_a_keyframe(monkeypatch: pytest.MonkeyPatch, retunes: bool) -> None:
    call = Call(monkeypatch, msgspec.structs.replace(STAND_IN, retunes=retunes))
    call.send(1)
    first = call.chips[0].bit_rate
    for share, opened in ((0.9, 1), (0.7, 1 if retunes else 2), (0.3, 2 if retunes else 3)):
        call.encoder.target_bitrate = round(first * share)
        call.send(1)
        assert len(call.chips) == opened
        assert call.chips[-1].bit_rate == (first if share == 0.9 else round(first * share))
    call.encoder.target_bitrate = first
    call.send(1)
    assert call.chips[-1].bit_rate == round(first * 0.3), "up only after a while"
