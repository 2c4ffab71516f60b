"""How late the picture follows a head: `bench eyes` in a call, by what is drawn on the page.

The viewer's camera sees a head that jumps 5 cm every two seconds, then one that sways 10 cm in two seconds. Every
picture that the page draws is kept, small and grey, with the instant at which it was drawn: what the view is of stands
still, so all that changes in it is the eye. A jump gives the time from the camera's picture to the first drawn one that
has changed (by a tenth of what the jump changes in the end) and to the one half-way; the sway gives by how much the
drawn eye lags behind the head, which the page predicts.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streamsvc.frames import Rig
from streamsvc.frames.rig import Matrix
from streamsvc.ledger.figures import percentile
from streamsvc.probe.chromium import BrowserError, ChromiumCall

STEP_MS = 2000.0
SWAY_MS = 2000.0
SETTLED_MS = 500.0
"""Before the next jump: by then the picture shows where the head is."""

SIZE = (32, 24)
FIRST, HALF = 0.1, 0.5

# A camera that sees the head, `__head.play(film)` one of its films; and `__head.drawn`, what was drawn and when.
HEAD = """
(() => {
  const head = { moves: [], drawn: [], play: null };
  const media = navigator.mediaDevices;
  const realMedia = media.getUserMedia.bind(media), realList = media.enumerateDevices.bind(media);
  const films = __FILMS__;
  const decode = (text) =>
    createImageBitmap(new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], { type: "image/jpeg" }));
  const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 480 });
  const context = canvas.getContext("2d");
  const pictures = Object.fromEntries(
    Object.entries(films).map(([name, film]) => [name, Promise.all(film.pictures.map(decode))]),
  );
  let track = null, timer = null;
  head.play = async (name) => {
    clearInterval(timer);
    const ready = await pictures[name], start = performance.now();
    head.moves = [];
    head.drawn = [];
    let before = -1;
    timer = setInterval(() => {
      const now = performance.now();
      const k = Math.floor(((now - start) / films[name].period) * ready.length) % ready.length;
      context.drawImage(ready[k], 0, 0);
      track?.requestFrame();
      if (k !== before) head.moves.push([now, k]);
      before = k;
    }, 1000 / 30);
  };
  media.enumerateDevices = async () => [
    ...(await realList()),
    { deviceId: "head", groupId: "head", kind: "videoinput", label: "Head camera" },
  ];
  media.getUserMedia = async (wanted) => {
    if (wanted.video?.deviceId?.exact !== "head") return realMedia(wanted);
    const stream = canvas.captureStream(0);
    [track] = stream.getVideoTracks();
    return stream;
  };
  localStorage.setItem("streamsvc.eyes.camera", "head");

  const small = Object.assign(document.createElement("canvas"), { width: 32, height: 24 });
  const looked = small.getContext("2d", { willReadFrequently: true });
  const keep = (picture, at) => {
    looked.drawImage(picture, 0, 0, 32, 24);
    const { data } = looked.getImageData(0, 0, 32, 24);
    let grey = "";
    for (let i = 0; i < data.length; i += 4) {
      grey += String.fromCharCode((data[i] + 2 * data[i + 1] + data[i + 2]) >> 2);
    }
    head.drawn.push([at, btoa(grey)]);
  };
  const draw = WebGL2RenderingContext.prototype.drawArrays;
  WebGL2RenderingContext.prototype.drawArrays = function (...given) {
    draw.apply(this, given);
    if (this.canvas.id === "warped") keep(this.canvas, performance.now());
  };
  head.watchVideo = () => {
    const view = document.getElementById("view");
    const onFrame = (now) => {
      view.requestVideoFrameCallback(onFrame);
      keep(view, now);
    };
    view.requestVideoFrameCallback(onFrame);
  };
  window.__head = head;
})();
"""


@dataclass(frozen=True, slots=True)
class Motion:
    """In one output mode: ms from a head that jumped to the first picture that has changed, and to one half-way (p50,
    p95); ms by which the drawn eye lags behind a head that sways; pictures drawn a second, and of how many jumps."""

    mode: str
    jumps: int
    first_p50_ms: float
    first_p95_ms: float
    half_p50_ms: float
    sway_lag_ms: float
    drawn_fps: float


def jump_times(moves: Matrix, at: Matrix, drawn: Matrix) -> list[tuple[float, float]]:
    """Return (first, half) in ms of each jump that can be told: `moves` (m,) are its instants, `at` (n,) those of the
    drawn pictures `drawn` (n, pixels), all in ms."""
    times = []
    for start, end in itertools.pairwise(moves):
        before = drawn[(at > start - SETTLED_MS) & (at <= start)]
        after = drawn[(at > end - SETTLED_MS) & (at <= end)]
        if not len(before) or not len(after):
            continue
        rest, way = before.mean(0), after.mean(0) - before.mean(0)
        within = (at > start) & (at <= end)
        done = (drawn[within] - rest) @ way / (way @ way)
        reached = [at[within][done >= share] for share in (FIRST, HALF)]
        if all(len(r) for r in reached):
            times.append((float(reached[0][0] - start), float(reached[1][0] - start)))
    return times


def sway_lag(heads: Matrix, places: Matrix, at: Matrix, drawn: Matrix, period_ms: float) -> float:
    """Return by how many ms the drawn pictures lag behind the head: the difference of phase, at the sway's period,
    between `places` (m,) at `heads` (m,) ms and what changes most in `drawn` (n, pixels) at `at` (n,) ms."""
    changes = drawn - drawn.mean(0)
    _, _, axes = np.linalg.svd(changes, full_matrices=False)
    shown = changes @ axes[0]

    def phase(t: Matrix, x: Matrix) -> float:
        turns = 2 * np.pi * t / period_ms
        basis = np.stack([np.cos(turns), np.sin(turns), np.ones_like(turns)], axis=1)
        cosine, sine, _ = np.linalg.lstsq(basis, x, rcond=None)[0]
        return float(np.arctan2(sine, cosine))

    # Which way the picture goes when the head goes right is not known: half a period more or less.
    behind = (phase(at, shown) - phase(heads, places)) / (2 * np.pi) * period_ms
    return float((behind + period_ms / 4) % (period_ms / 2) - period_ms / 4)


def measure_motion(
    call: ChromiumCall,
    url: str,
    out: Path,
    rig: Rig,
    mode: str,
    steps: Sequence[str],
    sway: Sequence[str],
    seconds: float,
) -> Motion:
    """Join with the rig's two cameras, follow the head, and measure for `seconds` each way. Raises BrowserError where
    the page doesn't get there or the head can't be told from what is drawn."""
    films = {"steps": {"pictures": steps, "period": 2 * STEP_MS}, "sway": {"pictures": sway, "period": SWAY_MS}}
    page = call.page
    page.add_init_script(HEAD.replace("__FILMS__", json.dumps(films)))
    rig_file = out / "rig.json"
    rig_file.write_text(json.dumps(rig.to_json()), "utf-8")
    call.join(url, "eyes", rig_file, 2, "es")
    page.evaluate("window.__head.play('sway')")
    page.click("[data-call=follow]")
    call.until("window.streamsvc.stats.follow.state === 'following'")
    if mode == "packed":
        page.click("[data-call=settings]")
        page.select_option("[data-set=mode]", mode)
        call.until("window.streamsvc.stats.warped > 0")
        page.click("[data-call=settings]")
    else:
        page.evaluate("window.__head.watchVideo()")
    moves, at, drawn = _play(page, "steps", seconds)
    times = jump_times(moves[:, 0], at, drawn)
    page.screenshot(path=str(out / f"call-{mode}.png"))
    if len(times) < 3:
        raise BrowserError(f"what is drawn doesn't tell where the head is ({len(times)} jumps seen)")
    heads, swayed_at, swayed = _play(page, "sway", seconds)
    places = np.sin(2 * np.pi * heads[:, 1] / len(sway))
    first, half = [t[0] for t in times], [t[1] for t in times]
    return Motion(
        mode=mode,
        jumps=len(times),
        first_p50_ms=float(percentile(first, 50) or 0.0),
        first_p95_ms=float(percentile(first, 95) or 0.0),
        half_p50_ms=float(percentile(half, 50) or 0.0),
        sway_lag_ms=sway_lag(heads[:, 0], places, swayed_at, swayed, SWAY_MS),
        drawn_fps=(len(at) - 1) * 1000 / float(at[-1] - at[0]),
    )


def _play(page: Any, film: str, seconds: float) -> tuple[Matrix, Matrix, Matrix]:
    """Return the head's moves (m, 2: ms, picture), the instants (n,) of the drawn pictures (ms), these (n, pixels)."""
    page.evaluate("film => window.__head.play(film)", film)
    page.wait_for_timeout(1000 * seconds)
    kept = page.evaluate("({ moves: window.__head.moves, drawn: window.__head.drawn })")
    if len(kept["drawn"]) < 10:
        raise BrowserError("the page draws no pictures")
    pixels = [np.frombuffer(base64.b64decode(grey), np.uint8) for _, grey in kept["drawn"]]
    instants = np.array([at for at, _ in kept["drawn"]], np.float64)
    return np.array(kept["moves"], np.float64), instants, np.array(pixels, np.float64)


def lines(motions: Sequence[Motion]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "ms from a head that jumps to the picture, and by which the picture lags behind a head that sways:"
    yield f"{'shown as':>8} {'first change p50':>17} {'p95':>5} {'half-way p50':>13} {'lag of sway':>12} {'drawn/s':>8}"
    for m in motions:
        yield (
            f"{m.mode:>8} {m.first_p50_ms:>17.0f} {m.first_p95_ms:>5.0f} {m.half_p50_ms:>13.0f} {m.sway_lag_ms:>12.0f} "
            f"{m.drawn_fps:>8.0f}"
        )
