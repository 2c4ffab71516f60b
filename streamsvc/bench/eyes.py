"""`bench eyes`: how well and how fast the page finds its viewer's eyes, and how late the picture follows them.

Faces are rendered before a webcam, so where their eyes are is known. First the page's tracker looks at films of people
who sway 10 cm sideways and 10 cm to and fro: in how many pictures it finds eyes, how far off they are, what a picture
takes. Then a call, in which the viewer's camera sees a head that moves, and what is drawn is looked at: `eyes_motion`.
Under `out`: eyes.json, and call.png, how the call looked.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from streamsvc.bench.eyes_motion import Motion, measure_motion
from streamsvc.bench.eyes_motion import lines as motion_lines
from streamsvc.demo import running_service
from streamsvc.frames import Camera
from streamsvc.frames.rig import Matrix
from streamsvc.ledger.conditions import conditions
from streamsvc.ledger.figures import percentile
from streamsvc.probe.chromium import BrowserError, chromium_call, film_body, write_wav
from streamsvc.scene import open_scene
from streamsvc.scene.body import Body
from streamsvc.scene.paint import EYE

W, H, DEGREES, FPS = 640, 480, 65.0, 15.0
FOCAL = W / 2 / np.tan(np.radians(DEGREES / 2))
AWAY_M = 0.6
SWAY_M = 0.05
"""How far a head goes to either side, and to and fro."""

FRAMES = 30
DRAWING = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
FACE_M = 0.73
"""Where along z the scene puts the face."""

# Shows pictures to the page's tracker, one after the other, and returns what it says of each.
TRACK = """async ([film, apart]) => {
  const { EyeTracker } = await import("/eyetracker.js");
  const tracker = new EyeTracker(65, apart);
  const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 480 });
  const context = canvas.getContext("2d");
  const track = canvas.captureStream(0).getVideoTracks()[0];
  const decode = async (text) =>
    createImageBitmap(new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], { type: "image/jpeg" }));
  const pictures = await Promise.all(film.map(decode));
  let tell = null;
  tracker.addEventListener("eyes", ({ detail }) => tell?.(detail));
  tracker.addEventListener("failed", ({ detail }) => tell?.({ failed: detail.message || "failed" }));
  const shown = async (picture) => {
    const show = () => {
      context.drawImage(picture, 0, 0);
      track.requestFrame();
    };
    show();
    const answer = new Promise((resolve) => (tell = resolve));
    // a frame that comes while the worker starts is not taken: it is shown again
    const again = setInterval(show, 100);
    const detail = await answer;
    clearInterval(again);
    return detail;
  };
  tracker.start(track);
  await shown(pictures[0]);
  const out = [];
  for (const picture of pictures) out.push(await shown(picture));
  tracker.stop();
  return out;
}"""


@dataclass(frozen=True, slots=True)
class EyesBench:
    """What to run: films of so many people, and calls of so many seconds."""

    out: Path
    people: int = 4
    seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class FaceFilm:
    """JPEG pictures of a webcam in base64, and where in its frame the eyes [right, left] were: (n, 2, 3) metres, x
    right, y down, z away."""

    pictures: list[str]
    eyes: Matrix

    @property
    def pupils_m(self) -> float:
        """The distance between the pupils."""
        return float(np.linalg.norm(self.eyes[:, 1] - self.eyes[:, 0], axis=1).mean())


@dataclass(frozen=True, slots=True)
class Tracked:
    """What the tracker made of a film, told how far the pupils are apart or left to learn it: the share of its pictures
    in which eyes were found, the largest and the median error of their middle (sideways, up, in depth; mm), and what a
    picture took (ms; half of them, and 95 %)."""

    person: int
    told: bool
    pictures: int
    found: float
    largest_mm: tuple[float, float, float]
    median_mm: tuple[float, float, float]
    p50_ms: float
    p95_ms: float


def eyes_of(body: Body, t: float) -> Matrix:
    """Return the middles of the irises [right, left] at `t`, (2, 3) world metres."""
    on = np.unique(body.mesh.faces[body.mesh.part == EYE])
    rest, now = body.mesh.vertices[on], body.shape(t).vertices[on]
    middles = []
    for side in (rest[:, 0] < 0, rest[:, 0] > 0):
        ball = (rest[side].min(0) + rest[side].max(0)) / 2
        offset = rest[side] - ball
        front = np.arctan2(np.hypot(offset[:, 0], offset[:, 1]), -offset[:, 2]) < 0.45
        middles.append(now[side][front].mean(0))
    return np.array(middles, np.float64)


def film_face(identity: int, places: Sequence[tuple[float, float]] | None = None) -> FaceFilm:
    """Film a person before a webcam. Without `places` they sway 10 cm sideways and 10 cm to and fro and move as the
    scene has it; `places` (metres to the camera's right, and further than 0.6 m) are those of a head that is still."""
    scene, body = open_scene(f"body:identity={identity},seed={identity}"), Body(identity, identity)
    K = np.array([[FOCAL, 0, (W - 1) / 2], [0, FOCAL, (H - 1) / 2], [0, 0, 1]])
    turns = 2 * np.pi * np.arange(FRAMES) / FRAMES
    swaying = [(SWAY_M * float(np.sin(a)), SWAY_M * float(np.cos(a))) for a in turns]
    pictures, eyes = [], []
    for k, (aside, further) in enumerate(places or swaying):
        t = 0.0 if places else k / FPS
        # it is the camera that moves: the face is where the scene puts it
        centre = np.array([-aside, 0.0, FACE_M - AWAY_M - further])
        rgb = scene.render(Camera("webcam", W, H, K, np.zeros(5), np.eye(3), -centre), t).rgb
        jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        pictures.append(base64.b64encode(jpeg.tobytes()).decode())
        eyes.append(eyes_of(body, t) - centre)
    return FaceFilm(pictures, np.array(eyes))


def judged(person: int, found: Sequence[dict[str, Any]], film: FaceFilm, *, told: bool = False) -> Tracked:
    """Return how what the tracker said of each picture compares with where the eyes were. Raises BrowserError where it
    found none, or stopped."""
    failed = [f["failed"] for f in found if "failed" in f]
    seen = [k for k, f in enumerate(found) if f.get("eyes")]
    if failed or not seen:
        raise BrowserError(f"the page's eye tracker found no eyes: {failed[0] if failed else 'no face was seen'}")
    errors = 1e3 * np.abs((np.array([found[k]["eyes"] for k in seen]) - film.eyes[seen]).mean(1))
    took = [f["ms"] for f in found]

    def each(values: Matrix) -> tuple[float, float, float]:
        sideways, up, depth = (float(v) for v in values)
        return sideways, up, depth

    return Tracked(
        person=person,
        told=told,
        pictures=len(found),
        found=len(seen) / len(found),
        largest_mm=each(errors.max(0)),
        median_mm=each(np.median(errors, axis=0)),
        p50_ms=float(percentile(took, 50) or 0.0),
        p95_ms=float(percentile(took, 95) or 0.0),
    )


def table(tracked: Sequence[Tracked]) -> Iterator[str]:
    """Yield the lines of the table, the last one for all."""
    yield "largest errors of the eyes' middle, mm, and ms a picture:"
    yield f"{'person':>6} {'pupils':>8} {'found':>7} {'sideways':>9} {'up':>6} {'depth':>7} {'ms, p50':>8} {'p95':>6}"
    for t in tracked:
        sideways, up, depth = t.largest_mm
        pupils = "told" if t.told else "learned"
        yield (
            f"{t.person:>6} {pupils:>8} {t.found:>7.1%} {sideways:>9.1f} {up:>6.1f} {depth:>7.1f} "
            f"{t.p50_ms:>8.1f} {t.p95_ms:>6.1f}"
        )
    sideways, _, depth = np.array([t.median_mm for t in tracked]).mean(0)
    share = sum(t.found * t.pictures for t in tracked) / sum(t.pictures for t in tracked)
    yield f"   all {share:>7.1%}; half of the pictures within {sideways:.1f} mm sideways and {depth:.1f} mm in depth"


async def run_eyes(options: EyesBench, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench and return its figures; `tell` is called with lines of progress and the tables. Raises BrowserError
    where Chromium or Playwright is missing, or the tracker's package isn't there."""
    options.out.mkdir(parents=True, exist_ok=True)
    tell(f"rendering {options.people} people before a webcam ...")
    films = [film_face(person) for person in range(options.people)]
    async with running_service(options.out, "--no-speech", view=(320, 240)) as (url, _):
        tracked = await asyncio.to_thread(_track, url, options, films)
        for line in table(tracked):
            tell(line)
        motions = await asyncio.to_thread(_move, url, options, tell)
    for line in motion_lines(motions):
        tell(line)
    figures = {
        "conditions": conditions(),
        "options": asdict(options),
        "tracked": [asdict(t) for t in tracked],
        "motion": [asdict(m) for m in motions],
    }
    (options.out / "eyes.json").write_text(json.dumps(figures, indent=1, default=str) + "\n", "utf-8")
    return figures


def _silence(options: EyesBench) -> Path:
    return write_wav(options.out / "mic.wav", np.zeros(48_000, np.float32))


def _track(url: str, options: EyesBench, films: Sequence[FaceFilm]) -> list[Tracked]:
    tracked = []
    with chromium_call(None, _silence(options), *DRAWING) as call:
        call.page.goto(url)
        for told in (False, True):
            for person, film in enumerate(films):
                apart = film.pupils_m if told else None
                found = call.page.evaluate(TRACK, [film.pictures, apart])
                tracked.append(judged(person, found, film, told=told))
    return tracked


def _move(url: str, options: EyesBench, tell: Callable[[str], None]) -> list[Motion]:
    tell("rendering a head that moves ...")
    steps = film_face(0, [(-SWAY_M / 2, 0.0), (SWAY_M / 2, 0.0)]).pictures
    turns = 2 * np.pi * np.arange(2 * FRAMES) / (2 * FRAMES)
    sway = film_face(0, [(SWAY_M * float(np.sin(a)), 0.0) for a in turns]).pictures
    film = film_body(2, (320, 240), FPS, seconds=1 / FPS)
    film = replace(film, pictures=tuple(2 * still for still in film.pictures))  # a film goes to and fro
    motions = []
    for mode in ("window", "packed"):
        tell(f"a call that follows the head, shown as {mode} ...")
        with chromium_call(film, _silence(options), *DRAWING) as call:
            motions.append(measure_motion(call, url, options.out, film.rig, mode, steps, sway, options.seconds))
    return motions
