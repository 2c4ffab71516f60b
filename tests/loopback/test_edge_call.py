"""A real call over aiortc: pictures, sound and messages both ways, on the capture clock."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

import numpy as np
import pytest
from edge_pair import bar_means, bars, call, filming, tone, until

from streamsvc.edge import (
    ChannelSpec,
    Received,
    capture_ns_of,
    rtp_timestamp_of,
    to_rgb,
    wall_offset_ns,
)


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_colour_bars_arrive_both_ways_with_the_right_colours(codec: str) -> None:
    async with call(codec=codec) as pair:
        picture = bars(320, 240)
        encoded: list[str] = []
        pair.server_video.on_encoded = lambda picture, _: bool(encoded.append(picture.codec))
        async with filming([*pair.peer_videos, pair.server_video], lambda _: picture):
            for connection in (pair.server, pair.peer):
                await until(lambda connection=connection: connection.videos)
                (incoming,) = connection.videos.values()
                for _ in range(20):
                    received = await incoming.next()
                assert received is not None and received.size == (320, 240)
                # 3 steps for the conversion and 4 for the codec.
                assert np.abs(bar_means(await to_rgb(received)) - bar_means(picture)).max() <= 7
        sent = next(s for s in pair.server.statistics().sent if s.kind == "video")
        assert sent.frames > 0 and sent.keyframes >= 1
        assert {codec, pair.server.picture_codec} == {*encoded}


async def test_every_frame_says_when_it_was_captured() -> None:
    async with call() as pair:
        seen: list[Received] = []
        (incoming,) = pair.server.videos.values()
        incoming.on_frame = seen.append
        picture = bars(320, 240)
        async with filming(pair.peer_videos, lambda _: picture) as captures:
            await until(lambda: sum(r.sender_ns is not None for r in seen) >= 20)
        by_timestamp = {rtp_timestamp_of(c): c for c in captures}
        for received in seen:
            captured = by_timestamp[received.rtp_timestamp]
            assert abs(capture_ns_of(received.rtp_timestamp, time.monotonic_ns()) - captured) < 12_000
            assert received.arrived_ns > captured
            if received.sender_ns is not None:
                # The report's NTP time and the RTP ticks are exact to 11 us; the wall clock may be slewed meanwhile.
                assert abs(received.sender_ns - wall_offset_ns() - captured) < 3_000_000


async def test_four_cameras_keep_their_sections_apart() -> None:
    async with call(cameras=4) as pair:
        flat = [np.full((120, 160, 3), 40 + 50 * i, np.uint8) for i in range(4)]
        assert pair.peer.mids == tuple(pair.server.videos) == ("0", "1", "2", "3")
        async with AsyncExitStack() as films:
            for video, picture in zip(pair.peer_videos, flat, strict=True):
                await films.enter_async_context(filming([video], lambda _, picture=picture: picture, fps=15))
            for i, incoming in enumerate(pair.server.videos.values()):
                await until(lambda incoming=incoming: incoming.frames >= 3)
                received = await incoming.next()
                assert received is not None
                assert np.abs((await to_rgb(received)).mean((0, 1)) - (40 + 50 * i)).max() < 6


async def test_a_slow_consumer_finds_the_newest_frame_and_never_a_queue() -> None:
    async with call() as pair:
        (incoming,) = pair.server.videos.values()
        seen: list[Received] = []
        incoming.on_frame = seen.append
        async with filming(pair.peer_videos, lambda i: np.roll(bars(160, 120), i * 4, 1)):
            await until(lambda: len(seen) >= 30)
            figures = incoming.statistics()
            assert figures.waiting == 1
            assert figures.replaced == figures.received - 1
            newest = incoming.take()
            assert newest is seen[-1] and incoming.take() is None


async def test_pictures_change_size_in_mid_stream() -> None:
    async with call() as pair:
        sizes = [(320, 240), (160, 120), (640, 480), (322, 242)]
        seen: list[Received] = []
        (incoming,) = pair.server.videos.values()
        incoming.on_frame = seen.append
        for width, height in sizes:
            picture = bars(width, height)
            async with filming(pair.peer_videos, lambda _, picture=picture: picture):
                await until(lambda width=width, height=height: seen and seen[-1].size == (width, height))
                count = len(seen)
                await until(lambda count=count: len(seen) >= count + 3)
            assert (
                np.abs(bar_means(await to_rgb(seen[-1])) - bar_means(picture)).max() <= 16
            )  # a fresh keyframe is coarse
        figures = pair.server.statistics().received[0]
        assert figures.decode_errors == 0


async def test_a_voice_arrives_at_both_rates_with_its_capture_time() -> None:
    async with call() as pair:
        assert pair.server.audio_in is not None
        speech: list[tuple[np.ndarray, int | None]] = []
        voice: list[np.ndarray] = []
        pair.server.audio_in.on_block = lambda samples, sender_ns, _: speech.append((samples, sender_ns))
        pair.server.audio_in.on_voice = lambda samples, *_: voice.append(samples)
        started = time.monotonic_ns()
        pair.peer_voice.say(tone(440, 96_000))
        await until(lambda: sum(map(len, voice)) > 72_000)
        for samples, rate in ((np.concatenate([s for s, _ in speech]), 16_000), (np.concatenate(voice), 48_000)):
            loud = samples[np.abs(samples) > 0.02]
            assert samples.dtype == np.float32 and 0.25 < np.abs(loud).max() < 0.35
            middle = samples[-rate // 2 :]
            spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
            assert abs(spectrum.argmax() * rate / len(middle) - 440) < 4
        onset = next((s, n) for s, n in speech if np.abs(s).max() > 0.1)
        assert onset[1] is not None
        # Opus looks ahead 6.5 ms, the tone may start anywhere in its block, and a busy loop may send it late.
        assert abs(onset[1] - wall_offset_ns() - started) < 150_000_000


async def test_messages_cross_and_what_cannot_be_sent_is_dropped() -> None:
    channels = (ChannelSpec("viewpoint", ordered=False, max_retransmits=0), ChannelSpec("captions"))
    async with call(channels=channels) as pair:
        assert not pair.server.send("nobody", "x")
        await until(lambda: pair.peer.send("captions", "hello"))
        await until(lambda: ("captions", "hello") in pair.messages["server"])
        await until(lambda: pair.server.send("captions", "good day"))
        await until(lambda: ("captions", "good day") in pair.messages["peer"])
        await until(lambda: pair.peer.send("viewpoint", "{}"))
        taken = [pair.peer.send("viewpoint", "y" * 4000) for _ in range(200)]
        assert taken[0] and not taken[-1]
        assert not pair.peer.send("captions", "z" * 400_000), "more than the other side takes in one message"
        assert pair.server.state == "connected"


async def test_statistics_count_what_crossed() -> None:
    async with call() as pair:
        (incoming,) = pair.server.videos.values()
        async with filming(pair.peer_videos, lambda i: np.roll(bars(160, 120), i * 4, 1)):
            await until(lambda: incoming.frames >= 10)
        received = next(r for r in pair.server.statistics().received if r.kind == "video")
        sent = next(s for s in pair.peer.statistics().sent if s.kind == "video")
        assert received.frames >= 10 and received.packets >= received.frames and received.bytes > 0
        assert received.packets_lost == 0 and received.decode_ms > 0 and received.decode_errors == 0
        assert sent.frames >= received.frames and sent.target_bitrate and sent.encode_ms > 0
        assert pair.server.statistics().malformed == 0
