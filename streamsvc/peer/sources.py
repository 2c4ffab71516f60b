"""Where a headless peer's pictures and sound come from: rendered scenes, files, devices.

A `CameraGroup` is one thread that takes pictures of one or more cameras at the same instants; a `Microphone` is pulled
by the track that sends it. Sources are named like `synthetic:body`, `synthetic:es` (a voice), `/dev/video0`,
`hw:0` or `default` (an ALSA microphone), or a file that FFmpeg reads. A file that ends begins again, sound is
followed by silence. Of a recording that the service made `FILE#NAME` is who is called NAME, as they were seen and in
their own voice; without a name it is the first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Protocol

import av
import numpy as np

from streamsvc.errors import StreamsvcError
from streamsvc.frames import OUTPUT_RATE, Pixels, Rig, Samples
from streamsvc.recording.tracks import TrackError, view_of, voice_of
from streamsvc.scene import Scene, open_scene

log = logging.getLogger(__name__)

SYNTHETIC = "synthetic:"
MOST_FPS = 240.0
"""More can't be told; films of a variable rate may say anything."""
SOUND_NS = 5_000_000_000
"""How long a film waits for its sound to begin."""

OnPicture = Callable[[str, Pixels, int], None]
"""Called on the source's thread with (camera, pixels, capture instant on the monotonic clock)."""
SceneTime = Callable[[int], float | None]


class SourceError(StreamsvcError):
    """A source that can't be opened; the message says what was tried."""


class SceneCameras:
    """All cameras of a rendered scene, live: every instant is rendered when it is due, for all cameras.

    `scene_time` maps an instant of the monotonic clock to seconds of the scene, None where nothing can be shown yet;
    left out, the scene begins when the cameras do.
    """

    def __init__(
        self, scene: Scene, rig: Rig, names: Sequence[str], fps: float, scene_time: SceneTime | None = None
    ) -> None:
        self._scene, self._rig, self._names = scene, rig, tuple(names)
        self.fps = fps
        self._scene_time = scene_time

    def run(self, on_picture: OnPicture, stop: threading.Event) -> None:
        """Render until `stop`; an instant that can't be rendered in time is skipped, not caught up."""
        start = time.monotonic_ns()
        period = round(1e9 / self.fps)
        tick = 0
        while not stop.is_set():
            due = start + tick * period
            if stop.wait(max(0.0, (due - time.monotonic_ns()) / 1e9)):
                return
            t = tick / self.fps if self._scene_time is None else self._scene_time(due)
            if t is not None:
                pictures = [(n, self._scene.render(self._rig.camera(n), t).rgb) for n in self._names]
                for name, pixels in pictures:
                    on_picture(name, pixels, due)
            tick = max(tick + 1, (time.monotonic_ns() - start) // period)


class MovieCamera:
    """One camera from a file or a device, paced by its own timestamps (a device paces itself). `sound` plays the same
    file: then picture and sound are as they are in it, until the film begins again. `fps` is what it delivers, None
    where a file doesn't say."""

    def __init__(
        self, name: str, source: str, size: tuple[int, int] | None, fps: float, sound: Microphone | None = None
    ) -> None:
        self._name, self._source, self._size, self._asked_fps = name, source, size, fps
        self._sound = sound
        self._device = source.startswith("/dev/")
        with _open(_file_of(source)[0], self._options()) as container:
            found = _track(container, source, "video").average_rate
        self.fps: float | None = fps if self._device else min(float(found), MOST_FPS) if found else None

    def _options(self) -> dict[str, str]:
        if not self._device:
            return {}
        size = {"video_size": f"{self._size[0]}x{self._size[1]}"} if self._size else {}
        return {"framerate": f"{self._asked_fps:g}", **size}

    def run(self, on_picture: OnPicture, stop: threading.Event) -> None:
        """Deliver frames until `stop`; a file begins again at its end. Raises SourceError where no more can be read."""
        zero = self._sound_zero(stop)
        while not stop.is_set():
            start = time.monotonic_ns() if zero is None else zero
            seen = False
            for seconds, pixels in self._frames(zero is not None):
                seen = True
                due = start + round(seconds * 1e9)
                if stop.wait(0 if self._device else max(0.0, (due - time.monotonic_ns()) / 1e9)):
                    return
                on_picture(self._name, pixels, time.monotonic_ns())
            if not seen:  # and would not be the next time
                raise SourceError(f"{self._source} has no picture that can be decoded")
            zero = None

    def _sound_zero(self, stop: threading.Event) -> int | None:
        """Wait until the sound begins, not for long: nobody may want it. Return the instant of the file's time zero."""
        patience = time.monotonic_ns() + SOUND_NS
        while self._sound is not None and self._sound.zero_ns is None and time.monotonic_ns() < patience:
            if stop.wait(0.002):
                break
        return None if self._sound is None else self._sound.zero_ns

    def _frames(self, absolute: bool = False) -> Iterator[tuple[float, Pixels]]:
        """Yield (seconds, pixels) of every frame; seconds since the first one, or with `absolute` since time zero."""
        with _open(_file_of(self._source)[0], self._options()) as container:
            first = 0.0 if absolute else None
            for i, frame in enumerate(_decoded(container, _track(container, self._source, "video"), self._source)):
                seconds = frame.time if frame.time is not None else i / self._asked_fps
                first = seconds if first is None else first
                width, height = self._size or (frame.width, frame.height)
                pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
                yield seconds - first, pixels.astype(np.uint8, copy=False)


CameraGroup = SceneCameras | MovieCamera


def _file_of(source: str) -> tuple[Path, str | None]:
    """Return the file of a source, and of whom in a recording (None: of the first)."""
    path, mark, name = source.rpartition("#")
    return (Path(path), name) if mark and Path(path).is_file() else (Path(source), None)


def _track(container: av.container.InputContainer, source: str, kind: Literal["video", "audio"]) -> Any:
    """Return the stream to play; raises SourceError."""
    streams, find = {
        "video": (container.streams.video, view_of),
        "audio": (container.streams.audio, voice_of),
    }[kind]
    if not streams:
        raise SourceError(f"{source} has no {'sound' if kind == 'audio' else kind}")
    try:
        index = find(list(container.streams), _file_of(source)[1])
    except TrackError as e:
        raise SourceError(f"{source}: {e}") from None
    return streams[0] if index is None else container.streams[index]


def _decoded(container: av.container.InputContainer, track: Any, source: str) -> Iterator[Any]:
    """Yield the frames of a stream; raises SourceError where one can't be read: a device is gone, a file damaged."""
    try:
        yield from container.decode(track)
    except (av.FFmpegError, OSError) as e:
        raise SourceError(f"{source} can't be read any more: {e.strerror or e}") from None


def _open(file: Path, options: dict[str, str] | None = None) -> av.container.InputContainer:
    source = str(file)
    fmt = "v4l2" if source.startswith("/dev/") else None
    try:
        return av.open(source, format=fmt, options=options or {})
    except (av.FFmpegError, OSError) as e:
        raise SourceError(f"{source} can't be opened: {e.strerror or e}") from None


def rate_of(groups: Sequence[CameraGroup]) -> float | None:
    """Return the pictures a second of the quickest camera: 0 without any, None where one doesn't say."""
    rates = [group.fps for group in groups]
    return None if None in rates else max((rate for rate in rates if rate is not None), default=0.0)


def open_cameras(
    cameras: dict[str, str],
    rig: Rig | None,
    size: tuple[int, int],
    fps: float,
    scene_time: SceneTime | None = None,
    sound: Voice | None = None,
) -> tuple[list[CameraGroup], Rig | None]:
    """Return the threads' sources and the rig: the given one, else that of the one scene that is shown.

    `cameras` maps names to sources, `scene_time` is as in `SceneCameras`, `sound` is what is sent beside the pictures.
    A scene's camera must be one of its rig. Raises SourceError, SceneError, RigError.
    """
    groups: list[CameraGroup] = []
    scenes: dict[str, list[str]] = {}
    for name, source in cameras.items():
        if source.startswith(SYNTHETIC):
            scenes.setdefault(source.removeprefix(SYNTHETIC), []).append(name)
        else:
            file = _file_of(source)[0]
            film = sound if isinstance(sound, Microphone) and sound.file == file else None
            groups.append(MovieCamera(name, source, None if file.is_file() else size, fps, film))
    for spec, names in scenes.items():
        scene = open_scene(spec)
        scene_rig = rig or scene.rig(4 if len(names) > 2 else 2, *size)
        groups.append(SceneCameras(scene, scene_rig, names, fps, scene_time))
        for name in names:
            # The first picture compiles the renderer and paints the background; do it before the call begins.
            scene.render(scene_rig.camera(name), 0.0)
        rig = scene_rig
    return groups, rig


class Voice(Protocol):
    """Where the sound that a peer sends is pulled from: 48 kHz mono, `seconds` of it (infinite where it is live)."""

    @property
    def seconds(self) -> float:
        """How long the sound is."""

    @property
    def ended(self) -> bool:
        """True once everything was pulled."""

    def read(self, count: int) -> Samples:
        """Return the next `count` samples, (count,) float32 in [-1, 1], at once."""
        ...


class Microphone:
    """Sound to send, 48 kHz mono, pulled 20 ms at a time; silence after the end. It is of `file`, after `lead_s`.
    `zero_ns` is the instant at which the file begins, None until it is known."""

    def __init__(self, samples: Samples, file: Path | None = None, lead_s: float = 0.0) -> None:
        self._samples, self.file, self._lead_s = samples, file, lead_s
        self._at = 0
        self.zero_ns: int | None = None

    @property
    def seconds(self) -> float:
        """How long the sound is."""
        return len(self._samples) / OUTPUT_RATE

    @property
    def ended(self) -> bool:
        """True once everything was pulled."""
        return self._at >= len(self._samples)

    def read(self, count: int) -> Samples:
        """Return the next `count` samples."""
        if self.zero_ns is None:
            self.zero_ns = time.monotonic_ns() + round(self._lead_s * 1e9)
        block = self._samples[self._at : self._at + count]
        self._at += count
        return np.concatenate([block, np.zeros(count - len(block), np.float32)]) if len(block) < count else block


class LiveMicrophone:
    """A sound device, read on a thread of its own; at most 200 ms wait to be sent."""

    seconds = float("inf")
    ended = False

    def __init__(self, device: str) -> None:
        try:
            self._device, self._container = device, av.open(device, format="alsa")
        except (av.FFmpegError, OSError, ValueError) as e:
            raise SourceError(f"the microphone {device} can't be opened: {e}") from None
        self._lock = threading.Lock()
        self._waiting = np.zeros(0, np.float32)
        threading.Thread(target=self._run, name="microphone", daemon=True).start()

    def _run(self) -> None:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=OUTPUT_RATE)
        try:
            for frame in _decoded(self._container, self._container.streams.audio[0], self._device):
                for out in resampler.resample(frame):
                    with self._lock:
                        joined = np.concatenate([self._waiting, out.to_ndarray().reshape(-1)])
                        self._waiting = joined[-OUTPUT_RATE // 5 :]
        except SourceError as e:
            log.error("the microphone has ended: %s", e)

    def read(self, count: int) -> Samples:
        """Return the next `count` samples, silence where none came."""
        with self._lock:
            block, self._waiting = self._waiting[:count], self._waiting[count:]
        return np.concatenate([block, np.zeros(count - len(block), np.float32)])


def read_sound(source: str) -> Samples:
    """Return all of an audio file as (n,) float32 mono at 48 kHz; raises SourceError."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=OUTPUT_RATE)
    parts = []
    with _open(_file_of(source)[0]) as container:
        for frame in container.decode(_track(container, source, "audio")):
            parts += [f.to_ndarray().reshape(-1) for f in resampler.resample(frame)]
    parts += [f.to_ndarray().reshape(-1) for f in resampler.resample(None)]
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)


def resample(samples: Samples, rate: int) -> Samples:
    """Return mono samples at 48 kHz."""
    if rate == OUTPUT_RATE:
        return samples
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout="mono")
    frame.sample_rate = rate
    frame.time_base = Fraction(1, rate)
    resampler = av.AudioResampler(format="flt", layout="mono", rate=OUTPUT_RATE)
    parts = [f.to_ndarray().reshape(-1) for f in [*resampler.resample(frame), *resampler.resample(None)]]
    return np.concatenate(parts).astype(np.float32)


def open_microphone(source: str, *, lead_s: float = 1.0) -> Microphone | LiveMicrophone:
    """Return a microphone; `lead_s` of silence precede a recording, so that its first word is not lost to the call's
    set-up. `synthetic:es[:SECONDS]` is recorded speech. Raises SourceError and what `talk` raises."""
    file = None
    if source.startswith(SYNTHETIC):
        language, _, seconds = source.removeprefix(SYNTHETIC).partition(":")
        from streamsvc.scene.talk import talk

        try:
            spoken = talk(language, float(seconds) if seconds else 60.0)
        except ValueError:
            raise SourceError(f"{source}: the length after the language must be seconds") from None
        samples = resample(spoken.samples, spoken.rate)
    elif _file_of(source)[0].is_file():
        file, samples = _file_of(source)[0], read_sound(source)
    elif Path(source).suffix:
        raise SourceError(f"{source}: there is no such file")
    else:
        return LiveMicrophone(source)
    lead = np.zeros(round(lead_s * OUTPUT_RATE), np.float32)
    return Microphone(np.concatenate([lead, samples]), file, lead_s)
