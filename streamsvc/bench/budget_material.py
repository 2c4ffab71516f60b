"""What `bench budget --real` feeds a worker with, all of it made before the clock starts, and what it costs.

Frame sets of a rendered person, two cameras of 320x240, lie in a ring of their own, where the worker reads them without
a copy; voices are recorded Spanish prompts. What words are due of a voice is what the same model and policy say of it
when there is all the time in the world. Costs are CPU time, so that other programs on the machine hardly change them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streamsvc.bench.speech_data import Source, streams
from streamsvc.budget import run_to_end
from streamsvc.budget.rung import Rung
from streamsvc.frames import SPEECH_RATE, Frame, FrameSet, Rig, Samples
from streamsvc.frames.ring import Ring
from streamsvc.scene import open_scene
from streamsvc.speech import Interpreter, InterpretSettings, Translator
from streamsvc.speech.interpret import run_asap
from streamsvc.speech.translator import Request
from streamsvc.view import ViewSynthesizer

if TYPE_CHECKING:
    from streamsvc.view.net.geometry import NetGeometry

SCENE = "body:1"
SIZE = (320, 240)
SETS = 45
SETS_PER_S = 30
"""A second and a half of movement, played forth and back."""

LANGUAGE = "es"
TIMED_SETS = 20
BATCH_S = 3.0
BATCH_REPEATS = 5


@dataclass(frozen=True, slots=True)
class Phrase:
    """A stretch of a voice, up to the next phrase, and how many English words are due of it."""

    start_ms: float
    end_ms: float
    words: int


@dataclass(frozen=True, slots=True, eq=False)
class Voice:
    """(n,) float32 16 kHz mono, its phrases in order, and the share of a lane that interpreting it by itself takes."""

    samples: Samples
    phrases: tuple[Phrase, ...]
    share: float


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Set n lies in the inward slots 2 n and 2 n + 1 of `ring`, in the order of the rig's cameras; `top_s` is what a
    set on the top rung of `ladder` takes while every lane does one; `batch`: what each further pass adds to the cost of
    a decode, as a share of the first."""

    rig: Rig
    ring: Ring
    ladder: tuple[Rung, ...]
    top_s: float
    voices: tuple[Voice, ...]
    batch: float | None

    def number_at(self, frame: int) -> int:
        """Return which set is shown as a stream's frame: forth and back, without a jump."""
        back = 2 * SETS - 2
        at = frame % back
        return at if at < SETS else back - at

    @property
    def share(self) -> float:
        """What a voice takes of a lane, the mean of all."""
        return sum(v.share for v in self.voices) / len(self.voices) if self.voices else 0.0


def prepare(
    net: NetGeometry | None,
    translator: Translator | None,
    voices: int,
    seconds: float,
    lanes: int,
    tell: Callable[[str], None],
) -> Material:
    """Render, interpret and time everything; raises SceneError where recordings are missing."""
    scene = open_scene(SCENE)
    rig = scene.rig(2, *SIZE)
    ring = Ring.create(slot_bytes=SIZE[0] * SIZE[1] * 3, inward=2 * SETS)
    for number in range(SETS):
        for index, camera in enumerate(rig.cameras):
            ring.pixels(2 * number + index, *SIZE)[:] = scene.render(camera, number / SETS_PER_S).rgb
    ladder = ViewSynthesizer(rig, *SIZE, net=net).ladder
    top_s = timed(rig, ring, ladder[-1].name, net, lanes)
    tell(f"the top rung, {ladder[-1].name}, takes {1000 * top_s:.1f} ms a frame set, {lanes} at once")
    spoken, batch = [], None
    if translator is not None:
        sources = streams(voices, seconds, (LANGUAGE,))
        spoken = [unhurried(source, seconds, translator) for source in sources]
        batch = batch_share(sources, translator)
        share = sum(v.share for v in spoken) / len(spoken)
        tell(f"a voice takes {share:.3f} of a lane; each further pass adds {batch:.2f} of the first to a decode")
    return Material(rig, ring, ladder, top_s, tuple(spoken), batch)


def timed(rig: Rig, ring: Ring, rung: str, net: NetGeometry | None, lanes: int) -> float:
    """Return the CPU seconds that a frame set takes on a rung, with so many at once; the first few are left out."""
    spent: list[float] = []

    def work() -> None:
        synthesizer = ViewSynthesizer(rig, *SIZE, net=net)
        view = synthesizer.view_camera(None)
        for number in range(TIMED_SETS):
            begun = time.thread_time()
            run_to_end(synthesizer.slices(frame_set(rig, ring, number), view, rung))
            if number >= 3:
                spent.append(time.thread_time() - begun)

    threads = [threading.Thread(target=work) for _ in range(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return float(np.median(spent))


def frame_set(rig: Rig, ring: Ring, number: int) -> FrameSet:
    """Return a set as the worker makes one."""
    captured = round(number * 1e9 / SETS_PER_S)
    frames = tuple(Frame(c.name, ring.pixels(2 * number + i, *SIZE), captured) for i, c in enumerate(rig.cameras))
    return FrameSet("bench", number, captured, 0, frames)


def unhurried(source: Source, seconds: float, translator: Translator) -> Voice:
    """Return the first `seconds` of a source as a voice."""
    samples = source.samples[: round(seconds * SPEECH_RATE)]
    interpreter = Interpreter(translator, InterpretSettings(source=source.language))
    said = run_asap(interpreter, samples, lambda *_: None, measure=time.process_time)
    starts = [p.start_ms for p in source.phrases if p.start_ms < 1000 * seconds]
    words = by_phrase(starts, [(c.source_end_ms, len(c.text.split())) for c, _ in said.commits])
    phrases = tuple(Phrase(p.start_ms, p.end_ms, n) for p, n in zip(source.phrases, words, strict=False))
    return Voice(samples, phrases, said.compute_s / seconds)


def by_phrase(starts: Sequence[float], said: Sequence[tuple[float, int]]) -> list[int]:
    """Return how many words belong to each of the phrases that start at `starts` (ms, rising), from (end of the sound
    in ms, words) of each commit."""
    found = [0] * len(starts)
    for end_ms, words in said:
        index = max((i for i, start in enumerate(starts) if start < end_ms), default=None)
        if index is not None:
            found[index] += words
    return found


def batch_share(sources: Sequence[Source], translator: Translator) -> float:
    """Return what each further pass adds to a decode of several, as a share of one alone; of up to four sounds of
    `BATCH_S`, CPU time, medians."""
    pieces = [s.samples[: round(BATCH_S * SPEECH_RATE)] for s in sources[:4]]
    while len(pieces) < 2:
        pieces.append(pieces[0])
    requests = [Request(translator.encode(piece), LANGUAGE) for piece in pieces]

    def spent(batch: Sequence[Request]) -> float:
        begun = time.process_time()
        translator.decode(batch)
        return time.process_time() - begun

    alone = np.mean([np.median([spent([r]) for _ in range(BATCH_REPEATS)]) for r in requests])
    together = np.median([spent(requests) for _ in range(BATCH_REPEATS)])
    return float((together / alone - 1) / (len(requests) - 1))
