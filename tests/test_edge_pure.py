"""Mailbox, RTP clock, profiles, colours, SDP checks: what needs no connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import av
import numpy as np
import pytest
from aiortc.sdp import SessionDescription
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.edge import AudioOut, Connection, colour, live_connections
from streamsvc.edge.channels import Channels
from streamsvc.edge.errors import EdgeError
from streamsvc.edge.mailbox import Mailbox
from streamsvc.edge.profiles import PROFILES, profile_for
from streamsvc.edge.rtpclock import (
    SenderClock,
    Unwrapper,
    capture_ns_of,
    ntp_of,
    rtp_timestamp_of,
    signed_difference,
    unix_ns_of,
)
from streamsvc.edge.sdp import (
    BitrateFloor,
    SdpLimits,
    check_description,
    parse_candidate,
    sending,
    with_bitrate_floor,
)

DAY_NS = 86_400_000_000_000


def test_the_mailbox_keeps_the_newest_and_counts_what_it_replaced() -> None:
    box: Mailbox[int] = Mailbox()
    assert box.take() is None
    assert [box.put(i) for i in (1, 2, 3)] == [False, True, True]
    assert box.statistics().waiting == 1
    assert box.take() == 3 and box.take() is None
    assert (box.statistics().received, box.statistics().replaced, box.statistics().waiting) == (3, 2, 0)


@given(st.integers(0, 400 * DAY_NS), st.integers(-3_600_000_000_000, 3_600_000_000_000))
def test_a_capture_time_survives_its_rtp_timestamp_to_one_tick(capture_ns: int, off_ns: int) -> None:
    back = capture_ns_of(rtp_timestamp_of(capture_ns), max(capture_ns + off_ns, 0))
    assert 0 <= capture_ns - back < 11_112 or abs(capture_ns - back) < 11_112
    assert rtp_timestamp_of(back) == rtp_timestamp_of(capture_ns)


@given(st.integers(0, 4_000_000_000_000_000_000))
def test_unix_time_survives_ntp(unix_ns: int) -> None:
    assert abs(unix_ns_of(ntp_of(unix_ns)) - unix_ns) <= 1


@given(st.integers(0, 2**32 - 1), st.integers(-(2**31) + 1, 2**31 - 1))
def test_differences_of_timestamps_wrap(start: int, step: int) -> None:
    assert signed_difference((start + step) % 2**32, start) == step


def test_the_unwrapper_crosses_the_wrap_both_ways() -> None:
    unwrap = Unwrapper()
    start = 2**32 - 3000
    assert [unwrap.map(t % 2**32) for t in (start, start + 6000, start + 3000)] == [start, start + 6000, start + 3000]


def test_the_sender_clock_follows_the_last_report_and_ignores_an_empty_one() -> None:
    clock = SenderClock(90_000)
    clock.report(5, 0)
    assert clock.to_unix_ns(0) is None
    unix = 1_700_000_000_000_000_000
    clock.report(2**32 - 90_000, ntp_of(unix))
    assert clock.to_unix_ns(90_000) == pytest.approx(unix + 2_000_000_000, abs=2)
    assert clock.to_unix_ns(2**32 - 180_000) == pytest.approx(unix - 1_000_000_000, abs=2)


def test_a_sender_clock_that_contradicts_itself_is_not_believed_until_it_agrees_again() -> None:
    clock = SenderClock(90_000)
    second = 1_000_000_000
    unix = 1_700_000_000 * second
    clock.report(0, ntp_of(unix))
    clock.report(2 * 90_000, ntp_of(unix + second))  # RTP time runs twice as fast
    assert clock.to_unix_ns(2 * 90_000) is None
    clock.report(4 * 90_000, ntp_of(unix + 2 * second))
    assert clock.to_unix_ns(4 * 90_000) is None
    clock.report(5 * 90_000, ntp_of(unix + 3 * second))
    assert clock.to_unix_ns(5 * 90_000) == unix + 3 * second


@given(st.integers(2, 4096), st.integers(2, 4096))
def test_every_size_has_a_profile_with_ordered_rates(width: int, height: int) -> None:
    profile = profile_for(width, height)
    assert profile.min_bitrate < profile.start_bitrate < profile.max_bitrate
    assert profile is PROFILES[-1] or width * height <= profile.pixels
    assert profile.clamp(0) == profile.min_bitrate and profile.clamp(10**9) == profile.max_bitrate


def bars(width: int, height: int) -> np.ndarray:
    """Colour bars at 75 %, one eighth of the width each, and a grey ramp below."""
    colours = np.array(
        [[191, 191, 191], [191, 191, 0], [0, 191, 191], [0, 191, 0], [191, 0, 191], [191, 0, 0], [0, 0, 191], [0, 0, 0]]
    )
    picture = colours[np.arange(width) * 8 // width][None].repeat(height, 0).astype(np.uint8)
    picture[height * 3 // 4 :] = np.linspace(0, 255, width).astype(np.uint8)[None, :, None]
    return picture


def inner(picture: np.ndarray) -> np.ndarray:
    """The middles of the eight bars, (8, 3) means."""
    height, width = picture.shape[:2]
    return np.array(
        [
            picture[height // 4 : height // 2, (2 * i + 1) * width // 16 - 3 : (2 * i + 1) * width // 16 + 3]
            .reshape(-1, 3)
            .mean(0)
            for i in range(8)
        ]
    )


@pytest.mark.parametrize(("width", "height"), [(320, 240), (321, 241), (640, 480)])
def test_colour_bars_come_back_within_three_steps(width: int, height: int) -> None:
    picture = bars(width, height)
    frame = colour.to_yuv(picture)
    assert frame.format.name == "yuv420p"
    assert np.abs(inner(colour.to_rgb(frame)) - inner(picture)).max() <= 3


def test_limited_range_is_what_goes_out() -> None:
    luma = colour.to_yuv(np.full((16, 16, 3), 255, np.uint8)).to_ndarray()[:16]
    assert abs(int(luma.max()) - 235) <= 1
    assert abs(int(colour.to_yuv(np.zeros((16, 16, 3), np.uint8)).to_ndarray()[:16].max()) - 16) <= 1


def test_a_frame_that_says_another_matrix_and_range_is_read_by_it() -> None:
    from av.video.reformatter import ColorRange, Colorspace

    picture = bars(320, 240)
    full = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
        format="yuv420p",
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.JPEG,
    )
    full.colorspace, full.color_range = 1, 2
    assert np.abs(inner(colour.to_rgb(full)) - inner(picture)).max() <= 3


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((1, 4, 3), np.uint8), 7]
)
def test_what_is_no_picture_is_refused(bad: object) -> None:
    with pytest.raises(EdgeError) as caught:
        colour.check_pixels(bad)  # type: ignore[arg-type]
    assert caught.value.code == "bad-picture"


HEADER = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {mids}\r\n"
SECTION = (
    "m={kind} 9 UDP/TLS/RTP/SAVPF 97\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na=rtcp-mux\r\na=rtpmap:97 {codec}\r\n"
    "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=fingerprint:sha-256 AA:BB\r\na=setup:actpass\r\n"
)


def offer(*kinds: str) -> str:
    codecs = {"video": "VP8/90000", "audio": "opus/48000/2"}
    head = HEADER.format(mids=" ".join(map(str, range(len(kinds)))))
    return head + "".join(SECTION.format(kind=k, mid=i, codec=codecs.get(k, "x/1")) for i, k in enumerate(kinds))


def test_a_good_offer_passes_and_gets_its_default_direction() -> None:
    assert check_description(offer("video", "audio"), SdpLimits()).count("a=sendrecv") == 2


@pytest.mark.parametrize(
    ("edit", "sends"),
    [
        (lambda sdp: sdp, 1),
        (lambda sdp: sdp + "a=recvonly\r\n", 0),
        (lambda sdp: sdp + "a=sendrecv\r\n a=recvonly\r\n", 1),
        (lambda sdp: sdp + "a=recvonly\r\na=sendrecv:1\r\n", 1),
        (lambda sdp: sdp + "a=recvonly\x0ba=sendonly\r\n", 1),
        (lambda sdp: sdp.replace("t=0 0\r\n", "t=0 0\r\na=recvonly\r\n"), 0),
        (lambda sdp: sdp.replace("t=0 0\r\n", "t=0 0\r\na=recvonly\r\n") + "a=sendrecv\r\n", 1),
    ],
    ids=[
        "no word",
        "receives",
        "leading blank",
        "with a value",
        "one line of two",
        "the session",
        "beyond the session",
    ],
)
def test_what_sends_is_what_is_applied_however_it_is_worded(edit: Callable[[str], str], sends: int) -> None:
    text = check_description(edit(offer("video")), SdpLimits())
    applied = SessionDescription.parse(text).media[0].direction
    assert sending(text).total() == sends == (applied in ("sendrecv", "sendonly"))


def test_sections_that_send_are_counted_by_kind() -> None:
    assert sending(check_description(offer("video", "audio", "video"), SdpLimits())) == {"video": 2, "audio": 1}


LINE_ENDS = ("\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\r")
BAD = {
    "empty": ("", "bad-sdp"),
    "not SDP": ("hello\r\n", "bad-sdp"),
    "JSON": ('{"sdp": 1}', "bad-sdp"),
    "no section": ("v=0\r\n", "bad-sdp"),
    "forty video sections": (offer(*["video"] * 40), "bad-sdp"),
    "three voices": (offer("audio", "audio", "audio"), "bad-sdp"),
    "unknown kind": (offer("text"), "bad-sdp"),
    "no fingerprint": (offer("video").replace("a=fingerprint:sha-256 AA:BB\r\n", ""), "bad-sdp"),
    "no setup": (offer("video").replace("a=setup:actpass\r\n", ""), "bad-sdp"),
    "no ufrag": (offer("video").replace("a=ice-ufrag:abcd\r\n", ""), "bad-sdp"),
    "no mux": (offer("video").replace("a=rtcp-mux\r\n", ""), "bad-sdp"),
    "no mid": (offer("video").replace("a=mid:0\r\n", ""), "bad-sdp"),
    "two sections with one mid": (offer("video", "audio").replace("a=mid:1", "a=mid:0"), "bad-sdp"),
    "bundle of nobody": (offer("video").replace("BUNDLE 0", "BUNDLE 7"), "bad-sdp"),
    "no codec": (offer("video").replace("a=rtpmap:97 VP8/90000\r\n", ""), "bad-sdp"),
    "too large": (offer("video") + "a=x:" + "y" * 300_000, "too-large"),
    "too many lines": (offer("video") + "a=x\r\n" * 5000, "too-large"),
    "too many codecs": (offer("video") + "".join(f"a=rtpmap:{i} VP8/90000\r\n" for i in range(100)), "bad-sdp"),
    "too many sources": (offer("video") + "".join(f"a=ssrc:{i} cname:x\r\n" for i in range(300)), "bad-sdp"),
    "sections behind other line ends": (offer(*["video"] * 9).replace("\r\nm=", "\x85m="), "bad-sdp"),
    "sources behind other line ends": (
        offer("video") + "".join(f"a=ssrc:{i} cname:x{LINE_ENDS[i % 7]}" for i in range(300)),
        "bad-sdp",
    ),
    "too many candidates": (
        offer("video") + "".join(f"a=candidate:{i} 1 udp 1 192.0.2.1 9 typ host\r\n" for i in range(300)),
        "bad-sdp",
    ),
    "bad media line": (offer("video").replace("m=video 9 ", "m=video "), "bad-sdp"),
    "bad payload type": (offer("video").replace("SAVPF 97", "SAVPF 9x"), "bad-sdp"),
    "forbidden payload type": (offer("video").replace("SAVPF 97", "SAVPF 72"), "bad-sdp"),
    "fmtp of nothing": (offer("video") + "a=fmtp:55 x=1\r\n", "bad-sdp"),
    "attribute without value": (offer("video") + "a=candidate\r\n", "bad-sdp"),
    "bad setup": (offer("video").replace("actpass", "whatever"), "bad-sdp"),
    "bad candidate": (offer("video") + "a=candidate:1 2 3\r\n", "bad-sdp"),
    "no such port": (offer("video") + "a=candidate:1 1 udp 1 127.0.0.1 99999 typ host\r\n", "bad-sdp"),
    "lone surrogate": (offer("video") + "a=x:\ud800 \r\na=extmap:z\r\n", "bad-sdp"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_descriptions_are_refused_with_a_code_and_a_sentence(name: str) -> None:
    text, code = BAD[name]
    with pytest.raises(EdgeError) as caught:
        check_description(text, SdpLimits())
    assert caught.value.code == code
    assert 10 < len(str(caught.value)) < 400


@pytest.mark.parametrize("text", [
        "", "candidate:", "candidate:1 1 udp x 1.2.3.4 5 typ host", "candidate:1 1 udp 5 h",
        "candidate:1 1 udp 1 1.2.3.4 70000 typ host", "candidate:1 1 udp 1 1.2.3.4 5 typ srflx raddr 0.0.0.0 rport -1",
    ])  # fmt: skip
def test_bad_candidates_are_refused(text: str) -> None:
    with pytest.raises(EdgeError) as caught:
        parse_candidate(text, "0")
    assert caught.value.code == "bad-candidate"


def test_each_camera_of_a_browser_adds_to_the_bitrate_floor() -> None:
    lines = ["video 9 X 97 99", "a={d}", "a=rtpmap:97 VP8/90000", "a=rtpmap:99 H264/90000", "a=fmtp:99 a=1"]
    section = "\r\n".join([*lines, "a=rtpmap:98 rtx/90000"])
    two = "\r\nm=".join(["v=0", *(section.format(d=d) for d in ("recvonly", "sendrecv", "sendonly"))])
    out = with_bitrate_floor(two, BitrateFloor(400, 1000))
    assert out.count("a=fmtp:97 x-google-min-bitrate=800;x-google-start-bitrate=2000") == 2
    assert out.count("a=fmtp:99 a=1;x-google-min-bitrate=800;x-google-start-bitrate=2000") == 2
    assert "fmtp:98" not in out
    one = with_bitrate_floor("\r\nm=".join(["v=0", section.format(d="recvonly")]), BitrateFloor(400, 1000))
    assert "a=fmtp:97 x-google-min-bitrate=400;x-google-start-bitrate=1000" in one


async def test_a_connection_that_was_lost_takes_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection()
    taken: list[str] = []
    monkeypatch.setattr(connection._channels, "send", lambda label, text: not taken.append(text))
    assert connection.send("captions", "before")
    connection._enter("failed")
    assert not connection.send("captions", "after") and taken == ["before"]
    await connection.close()


async def test_of_two_voices_the_first_is_heard_and_the_other_never_decoded() -> None:
    connection = Connection()
    answer = await connection.answer(offer("audio", "audio"), video=None, audio=AudioOut(lambda n: np.zeros(n)))
    assert [media.direction for media in SessionDescription.parse(answer).media] == ["sendrecv", "inactive"]
    assert connection.audio_in is not None and connection.audio_in.mid == "0"
    await connection.close()


async def test_an_offer_that_sends_more_than_is_allowed_changes_nothing() -> None:
    connection, told = Connection(), []

    def allow(sections: object) -> None:
        told.append(sections)
        raise EdgeError("no", "less")

    with pytest.raises(EdgeError, match="less"):
        await connection.answer(offer("video", "audio"), video=None, audio=None, allow=allow)
    assert told == [{"video": 1, "audio": 1}] and not connection.videos and connection.state == "new"
    await connection.close()


async def test_a_close_that_is_cut_off_goes_on_to_its_end() -> None:
    before, goes_on, states = live_connections(), asyncio.Event(), []
    connection = Connection(on_state=states.append)
    close = connection._pc.close

    async def slowly() -> None:
        await goes_on.wait()
        await close()

    connection._pc.close = slowly  # type: ignore[method-assign]
    closing = asyncio.create_task(connection.close())
    while connection._closing is None:  # noqa: ASYNC110 it begins when it has its turn
        await asyncio.sleep(0)
    closing.cancel()
    goes_on.set()
    await connection._closing
    await asyncio.sleep(0)
    assert live_connections() == before and states == ["closed"]


class FakeChannel(SimpleNamespace):
    """A data channel that is open, as far as `Channels` asks."""

    def __init__(self) -> None:
        super().__init__(
            label="ledger", readyState="open", maxRetransmits=None, maxPacketLifeTime=None, bufferedAmount=0
        )
        self.sent: list[str] = []
        self.handlers: dict[str, Callable[..., None]] = {}

    def on(self, event: str, handler: Callable[..., None]) -> None:
        self.handlers[event] = handler

    def send(self, text: str) -> None:
        self.sent.append(text)

    def close(self) -> None:
        self.readyState = "closing"


def test_a_channel_that_was_closed_is_forgotten_and_another_of_its_label_is_not() -> None:
    channels, first, second = Channels(), FakeChannel(), FakeChannel()
    channels.add(first)  # type: ignore[arg-type]
    channels.add(second)  # type: ignore[arg-type]
    first.handlers["close"]()
    assert channels.send("ledger", "x") and second.sent == ["x"] and not first.sent
    second.handlers["close"]()
    assert not channels._channels and not channels.send("ledger", "y")
