"""The probe in a browser: our page in headless Chromium, whose cameras see the clock card and whose pictures are read
as the page shows them.

The page is used as it is. A script before it draws the card into what its cameras see, reads the card in every picture
that is displayed (`requestVideoFrameCallback`), and takes down what crosses the ledger channel. Card and display are
both on the page's `performance.now()`, so there is one clock. The page reads at fixed points, and hands over pictures
in which no card is there: the card moves in the view when another rung shows it from another place.
"""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from streamsvc.edge import capture_ns_of
from streamsvc.frames import Camera, Pixels, Rig
from streamsvc.frames.clockmap import ClockEstimator
from streamsvc.peer.sources import open_microphone
from streamsvc.probe.chromium import BrowserError, ChromiumCall, chromium_call, film_body, write_wav
from streamsvc.probe.figures import Taken
from streamsvc.probe.measure import Sighting, captions_of
from streamsvc.probe.options import ProbeOptions
from streamsvc.probe.reading import CardReader, Corners, Reading
from streamsvc.scene.card import BORDER, CHECK_BITS, COLUMNS, NUMBER_BITS, ROWS, check_of, number_of, outline
from streamsvc.signalling.channels import FrameTrace

FIND_S = 20.0
LOOK_MS = 500
MOST_KEPT = 8
"""Pictures without a card at the points that the page hands over each time it is looked at."""

WIDTH, HEIGHT = COLUMNS + 2 * BORDER, ROWS + 2 * BORDER

# `points` are where the view has the middles of blocks, in whole pixels: black frame, white margin, the code in order.
PROBE = """
(() => {
  const { homographies, checks, empty, columns, rows, border, numberBits, checkBits, mostKept } = __SETTINGS__;
  const nothing = () => ({ captures: [], seen: [], frames: [], pongs: [], kept: 0 });
  const probe = (window.probe = { ...nothing(), points: null, budgetMs: null });
  let instant = null;
  const digits = (value, count) => value.toString(2).padStart(count, "0");
  // A cyclic check is linear: that of a number is that of its bits together.
  const checkOf = (number) => checks.reduce((sum, check, bit) => ((number >> bit) & 1 ? sum ^ check : sum), empty);
  window.onFilmDrawn = (context, camera) => {
    instant ??= performance.now();
    const number = Math.round(instant) % 2 ** numberBits;
    const h = homographies[camera];
    const quad = (x, y, width, height, colour) => {
      context.fillStyle = colour;
      context.beginPath();
      for (const [u, v] of [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]) {
        const w = h[6] * u + h[7] * v + h[8];
        context.lineTo((h[0] * u + h[1] * v + h[2]) / w, (h[3] * u + h[4] * v + h[5]) / w);
      }
      context.fill();
    };
    quad(0, 0, columns + 2 * border, rows + 2 * border, "#fff");
    quad(1, 1, columns + 2 * border - 2, rows + 2 * border - 2, "#000");
    // Blocks overlap a little, or the background would show where two of them meet.
    [...digits(number, numberBits), ...digits(checkOf(number), checkBits)].forEach((bit, i) => {
      if (bit === "1") quad(border + (i % columns) - 0.02, border + Math.floor(i / columns) - 0.02, 1.04, 1.04, "#fff");
    });
  };
  window.onFilmsDrawn = () => {
    probe.captures.push(instant);
    instant = null;
  };
  const open = RTCPeerConnection.prototype.createDataChannel;
  RTCPeerConnection.prototype.createDataChannel = function (label, ...more) {
    const channel = open.call(this, label, ...more);
    if (label === "ledger") {
      channel.addEventListener("open", () => channel.send(JSON.stringify({ type: "follow", frames: true })));
      channel.addEventListener("message", ({ data }) => {
        const now = performance.now();
        const message = JSON.parse(data);
        if (message.type === "frames") probe.frames.push(...message.frames);
        if (message.type === "live") probe.budgetMs = message.budget_ms;
        if (message.type === "pong") probe.pongs.push([message.sent_ns, message.server_ns, now]);
      });
    }
    return channel;
  };
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const wordIn = (video) => {
    if (!probe.points) return null;
    const { left, top, width, height, groups } = probe.points;
    [canvas.width, canvas.height] = [width, height];
    context.drawImage(video, -left, -top);
    const { data } = context.getImageData(0, 0, width, height);
    const level = ([x, y]) => {
      let sum = 0;
      for (let j = -1; j <= 1; j += 1)
        for (let i = -1; i <= 1; i += 1) sum += data[4 * ((y - top + j) * width + x - left + i) + 1];
      return sum;
    };
    const [black, white, code] = groups.map((group) => group.map(level));
    const median = (levels) => [...levels].sort((a, b) => a - b)[levels.length >> 1];
    const middle = (median(black) + median(white)) / 2;
    return code.reduce((word, bright) => word * 2 + (bright > middle ? 1 : 0), 0);
  };
  const isCard = (word) =>
    word !== null && checkOf(Math.floor(word / 2 ** checkBits)) === word % 2 ** checkBits;
  probe.start = () => {
    const video = document.getElementById("view");
    const onFrame = (_, { expectedDisplayTime, rtpTimestamp }) => {
      video.requestVideoFrameCallback(onFrame);
      // Not the callback's own time: a busy page takes its turn later than that, and then shows a newer picture.
      const now = performance.now();
      const word = wordIn(video);
      const picture = isCard(word) || probe.kept >= mostKept ? null : probe.picture();
      probe.kept += picture !== null;
      probe.seen.push([Math.max(now, expectedDisplayTime ?? now), rtpTimestamp ?? null, word, picture]);
    };
    video.requestVideoFrameCallback(onFrame);
  };
  probe.picture = () => {
    const video = document.getElementById("view");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    context.drawImage(video, 0, 0);
    return canvas.toDataURL();
  };
  probe.take = () => {
    const { captures, seen, frames, pongs } = probe;
    Object.assign(probe, nothing());
    return { captures, seen, frames, pongs };
  };
})();
"""


def script(rig: Rig) -> str:
    """Return what the page begins with, for cameras in the order of `rig`."""
    settings = {
        "homographies": [_homography(c) for c in rig.cameras],
        "checks": [check_of(1 << bit) ^ check_of(0) for bit in range(NUMBER_BITS)],
        "empty": check_of(0),
        "columns": COLUMNS,
        "rows": ROWS,
        "border": BORDER,
        "numberBits": NUMBER_BITS,
        "checkBits": CHECK_BITS,
        "mostKept": MOST_KEPT,
    }
    return PROBE.replace("__SETTINGS__", json.dumps(settings))


def _homography(camera: Camera) -> list[float]:
    """From blocks of the card to a canvas, whose pixels have their upper left corners at integers."""
    blocks = np.array([(0, 0), (WIDTH, 0), (WIDTH, HEIGHT), (0, HEIGHT)], np.float32)
    m = cv2.getPerspectiveTransform(blocks, outline(camera, 0) + 0.5)
    return [float(x) for x in m.reshape(-1)]


def points(corners: Corners, width: int, height: int) -> dict[str, Any]:
    """Return where to read a card whose frame has its outer corners at `corners` in a view of `width` x `height`, and
    the rectangle that holds all of these."""
    frame = np.array(
        [(1, 1), (WIDTH - 1, 1), (WIDTH - 1, HEIGHT - 1), (1, HEIGHT - 1)],
        np.float32,
    )
    m = cv2.getPerspectiveTransform(frame, corners)

    def seen(blocks: list[tuple[int, int]]) -> NDArray[np.int64]:
        middles = np.array([[(x + 0.5, y + 0.5) for x, y in blocks]], np.float32)
        at = cv2.perspectiveTransform(middles, m)[0]
        inside = ((at >= 1.5) & (at < np.array([width, height]) - 2.5)).all(1)
        return np.asarray(np.rint(at[inside]), np.int64)

    code = [(BORDER + i % COLUMNS, BORDER + i // COLUMNS) for i in range(COLUMNS * ROWS)]
    black = [(x, y) for x in range(1, WIDTH - 1) for y in (1, HEIGHT - 2)]
    white = [(x, y) for x in range(WIDTH) for y in (0, HEIGHT - 1)] + [(0, y) for y in range(HEIGHT)]
    groups = [seen(g) for g in (black, white, code)]
    if len(groups[2]) != len(code):
        raise BrowserError("the card does not fit into the view")
    every = np.concatenate(groups)
    left, top = (every.min(0) - 1).tolist()
    right, bottom = (every.max(0) + 2).tolist()
    return {
        "left": left,
        "top": top,
        "width": right - left,
        "height": bottom - top,
        "groups": [g.tolist() for g in groups],
    }


def look_in_chromium(options: ProbeOptions, tell: Callable[[str], None]) -> Taken:
    """Take part in a call with our page and return what it saw; leaves `page.png`. Blocks. Raises BrowserError."""
    tell(f"{options.url} in headless Chromium: rendering what its cameras see ...")
    options.out.mkdir(parents=True, exist_ok=True)
    film = film_body(options.cameras, options.size, options.fps, seconds=24 / options.fps)
    rig_file = options.out / "rig.json"
    rig_file.write_text(json.dumps(film.rig.to_json()), "utf-8")
    microphone = open_microphone(f"synthetic:{options.speech or 'es'}:{options.seconds:g}")
    samples = microphone.read(round(options.seconds * 48_000))
    mic = write_wav(options.out / "mic.wav", samples if options.speech else np.zeros_like(samples))
    captures: list[int] = []
    sightings: list[tuple[int, int | None, int | None]] = []
    traces: deque[FrameTrace] = deque(maxlen=200_000)
    clock = ClockEstimator()
    with chromium_call(film, mic, scripts=[script(film.rig)], insecure=options.insecure) as call:
        call.join(options.url, options.room, rig_file, options.cameras, options.speech or "es", options.token)
        _set_budget(call, options.budget_ms)
        _aim(call, _find_card(call))
        call.page.evaluate("window.probe.take(); window.probe.start()")
        begin = told = time.monotonic()
        while time.monotonic() - begin < options.seconds:
            call.page.wait_for_timeout(LOOK_MS)
            news = call.page.evaluate("window.probe.take()")
            captures += [round(ms * 1e6) for ms in news["captures"]]
            moved: Found | None = None
            for at_ms, rtp, word, url in news["seen"]:
                number = None if word is None else number_of(word)
                if number is None and url is not None and (elsewhere := _read(_decoded(url))) is not None:
                    number, moved = elsewhere.reading.number, elsewhere
                sightings.append((round(at_ms * 1e6), rtp, number))
            if moved is not None:
                # One half out of the view has no points to read at; it goes on being read from pictures.
                with suppress(BrowserError):
                    _aim(call, moved)
            traces.extend(msgspec.convert(news["frames"], list[FrameTrace]))
            for sent, server, received_ms in news["pongs"]:
                # Seen from here the server's clock is "ours".
                clock.ping(sent, server, round(received_ms * 1e6))
            if time.monotonic() - told > max(5.0, options.seconds / 12):
                told = time.monotonic()
                read = sum(number is not None for _, _, number in sightings)
                tell(f"  {told - begin:4.0f} s: {len(captures)} captured, {len(sightings)} seen, {read} cards read")
        call.page.screenshot(path=str(options.out / "page.png"))
        seen = _picture(call)
        captions = call.stats()["captions"]
        errors = call.errors
    best = clock.map
    return Taken(
        captures=captures,
        sightings=[
            Sighting(
                at,
                number,
                None if rtp is None or best is None else capture_ns_of(rtp, best.to_ours(at)) - best.offset_ns,
            )
            for at, rtp, number in sightings
        ],
        traces=traces,
        clock=best,
        speech=_speech(captions) if options.speech else {},
        seen=seen,
        notices=[f"console: {e}" for e in errors],
    )


def _decoded(url: str) -> Pixels:
    bgr: Any = cv2.imdecode(np.frombuffer(b64decode(url.partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _picture(call: ChromiumCall) -> Pixels:
    return _decoded(call.page.evaluate("window.probe.picture()"))


@dataclass(frozen=True, slots=True)
class Found:
    """A card that was read, and the size of the view it was in."""

    reading: Reading
    width: int
    height: int


def _read(picture: Pixels) -> Found | None:
    reading = CardReader().read(np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8))
    return None if reading is None else Found(reading, picture.shape[1], picture.shape[0])


def _set_budget(call: ChromiumCall, budget_ms: float) -> None:
    """Move the page's slider, further than it goes if need be, and wait until the service says that it obeys."""
    move = """(ms) => {
      const slider = document.querySelector("[data-set=budget]");
      const [min, max] = [Math.min(slider.min, ms), Math.max(slider.max, ms)];
      Object.assign(slider, { min, max, step: "any", value: ms });
      slider.dispatchEvent(new Event("input"));
    }"""
    call.page.evaluate(move, budget_ms)
    call.until(f"window.probe.budgetMs === {budget_ms}")


def _find_card(call: ChromiumCall) -> Found:
    """Wait until the view shows a card that can be read."""
    deadline = time.monotonic() + FIND_S
    while True:
        found = _read(_picture(call))
        if found is not None:
            return found
        if time.monotonic() > deadline:
            raise BrowserError(f"no clock card could be read in the view within {FIND_S:g} s; console: {call.errors}")
        call.page.wait_for_timeout(100)


def _aim(call: ChromiumCall, found: Found) -> None:
    """Have the page read its cards there from now on."""
    where = points(found.reading.corners, found.width, found.height)
    call.page.evaluate("(points) => { window.probe.points = points; }", where)


def _speech(captions: list[dict[str, Any]]) -> dict[str, Any]:
    return captions_of([(c["text"], c["wall_ms"] - c["source_end_ms"]) for c in captions])
