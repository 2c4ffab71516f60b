"""One recording as a Matroska file: a view, two voices and the words of each owner, on one line of time.

Pictures are muxed as they were sent, so their size may change at a keyframe in mid-stream, which FFmpeg's decoders
follow; voices are encoded here. The header waits until the first picture of each view says what it is, at most
`HEADER_NS`; then it says what was agreed. Clusters end, and are handed to the operating system, every half second:
whoever dies loses what came since.

Words are committed seconds after they were spoken, so in a file that is still being written their cues lie behind the
pictures that they belong to. `settle` writes the file once more, in order, with joined cues and an index.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from streamsvc.frames import OUTPUT_RATE
from streamsvc.frames.captions import TimedText, cues
from streamsvc.recording.folder import RecordingError
from streamsvc.recording.items import Owner, Picture, Sound, Words
from streamsvc.recording.tracks import TRANSLATION, VIEW, VOICE
from streamsvc.recording.voiceline import VoiceLine

MS = 1_000_000
TIME_BASE = Fraction(1, 1000)
HEADER_NS = 1_500 * MS
LATE_NS = 400 * MS
"""How long a voice may take from the microphone to here; where it takes longer it is silent."""
VOICE_BITRATE = 48_000
OPTIONS = {"cluster_time_limit": "500", "flush_packets": "1", "max_interleave_delta": "500000"}
CODECS = {"VP8": "vp8", "H264": "h264"}


class _View:
    """The pictures of one owner."""

    def __init__(self, container: Any, owner: Owner, first: Picture | None) -> None:
        self.codec = owner.codec if first is None else first.codec
        width, height = (owner.width, owner.height) if first is None else (first.width, first.height)
        self.stream = container.add_mux_stream(CODECS[self.codec], width=width, height=height, time_base=TIME_BASE)
        self.stream.metadata["title"] = owner.name + VIEW
        self.last = -1


class _Voice:
    """One voice of one owner."""

    def __init__(self, container: Any, owner: Owner, translated: bool) -> None:
        self.stream = container.add_stream("libopus", rate=OUTPUT_RATE, layout="mono")
        self.stream.bit_rate = VOICE_BITRATE
        self.stream.codec_context.options = {"application": "voip", "frame_duration": "20"}
        self.stream.metadata["title"] = owner.name + (TRANSLATION if translated else VOICE)


class Film:
    """A file that is being written; `start_ns` is its time zero. Used by one thread.

    Every method raises RecordingError("write-failed") when the file can't be written any more.
    """

    def __init__(self, path: Path, title: str, owners: Sequence[Owner], start_ns: int) -> None:
        self._owners, self._start_ns = owners, start_ns
        with _writing():
            self._container: Any = av.open(str(path), "w", format="matroska", options=OPTIONS)
        self._container.metadata["title"] = title
        self._waiting: list[Picture | Words] = []
        self._views: dict[int, _View] | None = None
        self._voices: dict[tuple[int, bool], _Voice] = {}
        self._lines = {(i, t): VoiceLine() for i in range(len(owners)) for t in (False, True)}
        self._words: dict[int, Any] = {}
        self._cue_ms: dict[int, int] = {}

    def picture(self, item: Picture) -> None:
        """Write a picture; raises RecordingError("codec-changed") too."""
        self._waiting.append(item)
        self._pump(item.at_ns)

    def words(self, item: Words) -> None:
        """Write words."""
        self._waiting.append(item)
        self._pump(self._start_ns)

    def sound(self, item: Sound) -> None:
        """Take sound, to be written by `advance`."""
        at = (item.at_ns - self._start_ns) * OUTPUT_RATE // 1_000_000_000
        self._lines[item.owner, item.translated].put(np.frombuffer(item.samples, "<i2"), at)

    def advance(self, now_ns: int) -> None:
        """Write the voices up to a little before `now_ns`, silence where nothing came."""
        self._pump(now_ns)
        if self._views is None:
            return
        until = (now_ns - LATE_NS - self._start_ns) * OUTPUT_RATE // 1_000_000_000
        with _writing():
            for key, line in self._lines.items():
                for at, samples in line.take(until):
                    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
                    frame.sample_rate, frame.pts, frame.time_base = OUTPUT_RATE, at, Fraction(1, OUTPUT_RATE)
                    self._container.mux(self._voices[key].stream.encode(frame))

    def close(self, now_ns: int) -> None:
        """Finish the file; what came until `now_ns` is in it."""
        self._pump(max(now_ns, self._start_ns + HEADER_NS))
        self.advance(now_ns + LATE_NS)
        with _writing():
            for voice in self._voices.values():
                self._container.mux(voice.stream.encode(None))
            self._container.close()

    def _pump(self, now_ns: int) -> None:
        with _writing():
            if self._views is None:
                first = {p.owner: p for p in reversed(self._waiting) if isinstance(p, Picture)}
                missing = any(o.view and i not in first for i, o in enumerate(self._owners))
                if missing and now_ns < self._start_ns + HEADER_NS:
                    return
                self._open(first)
            while self._waiting:
                self._mux(self._waiting.pop(0))

    def _open(self, first: dict[int, Picture]) -> None:
        add, owners = self._container, list(enumerate(self._owners))
        self._views = {i: _View(add, o, first.get(i)) for i, o in owners if o.view}
        self._voices = {(i, t): _Voice(add, o, t) for i, o in owners for t in (False, True)}
        for i, owner in owners:
            self._words[i] = add.add_mux_stream("subrip", time_base=TIME_BASE)
            self._words[i].metadata["title"] = owner.name

    def _mux(self, item: Picture | Words) -> None:
        packet = av.Packet(item.data if isinstance(item, Picture) else item.text.encode())
        packet.time_base = TIME_BASE
        if isinstance(item, Picture):
            assert self._views is not None
            view = self._views[item.owner]
            if item.codec != view.codec:
                raise RecordingError("codec-changed", f"the view changed from {view.codec} to {item.codec}")
            view.last = max((item.at_ns - self._start_ns) // MS, view.last + 1)
            packet.stream, packet.pts, packet.is_keyframe = view.stream, view.last, item.keyframe
        else:
            start = max((item.start_ns - self._start_ns) // MS, self._cue_ms.get(item.owner, 0))
            self._cue_ms[item.owner] = start
            packet.stream, packet.pts = self._words[item.owner], start
            packet.duration = max((item.end_ns - self._start_ns) // MS - start, 1)
        packet.dts = packet.pts
        self._container.mux(packet)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except (av.FFmpegError, OSError) as e:
        raise RecordingError("write-failed", f"the recording can't be written: {e.strerror or e}") from None


def settle(path: Path) -> None:
    """Write a recording once more, beside itself and then in its place, with cues where their words are spoken and an
    index.

    Raises RecordingError("write-failed"), and the file is then as it was.
    """
    beside = path.with_suffix(".part")
    try:
        with _writing():
            os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
            _rewrite(path, beside)
            beside.replace(path)
    except RecordingError:
        beside.unlink(missing_ok=True)
        raise


def _rewrite(path: Path, beside: Path) -> None:
    with av.open(str(path)) as source, av.open(str(beside), "w", format="matroska") as out:
        container: Any = out
        container.metadata.update(source.metadata)
        tracks: dict[int, Any] = {}
        for stream in source.streams:
            if stream.type == "subtitle":
                tracks[stream.index] = container.add_mux_stream("subrip", time_base=TIME_BASE)
            else:
                tracks[stream.index] = container.add_stream_from_template(stream, opaque=True)
            tracks[stream.index].metadata["title"] = stream.metadata["title"]
        waiting = _cues(path)
        for packet in source.demux([s for s in source.streams if s.type != "subtitle"]):
            if packet.pts is None or packet.time_base is None:
                continue
            while waiting and waiting[0][1].start_ms <= packet.pts * packet.time_base * 1000:
                _mux_cue(container, tracks, *waiting.pop(0))
            packet.stream = tracks[packet.stream.index]
            container.mux(packet)
        for index, cue in waiting:
            _mux_cue(container, tracks, index, cue)


def _cues(path: Path) -> list[tuple[int, TimedText]]:
    texts: dict[int, list[TimedText]] = {}
    with av.open(str(path)) as source:
        for packet in source.demux(source.streams.subtitles):
            if packet.pts is not None and packet.time_base is not None:
                start = float(packet.pts * packet.time_base * 1000)
                end = start + float((packet.duration or 0) * packet.time_base * 1000)
                texts.setdefault(packet.stream.index, []).append(TimedText(bytes(packet).decode(), start, end))
    joined = [(index, cue) for index, of in texts.items() for cue in cues(of)]
    return sorted(joined, key=lambda c: c[1].start_ms)


def _mux_cue(container: Any, tracks: dict[int, Any], index: int, cue: TimedText) -> None:
    packet = av.Packet(cue.text.encode())
    packet.stream, packet.time_base = tracks[index], TIME_BASE
    packet.pts = packet.dts = round(cue.start_ms)
    packet.duration = round(cue.end_ms - cue.start_ms)
    container.mux(packet)
