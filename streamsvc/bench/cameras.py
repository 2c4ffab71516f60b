"""`bench cameras`: several cameras from one page of headless Chromium, and at which size and rate it sends them.

Chromium sends what the bandwidth estimates of the other end and its own processor allow: it shrinks pictures and leaves
some out when they don't. Ours is the page as it is, joined to the service, in processes of its own, in a room where
nobody watches; the rival is a connection to stock aiortc, with the same cameras. What is sent is taken from Chromium's
statistics once a second, after `WARM_UP_S`. Under `out`: cameras.json.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streamsvc.bench import cameras_stock
from streamsvc.bench.edge_figures import OURS, STOCK
from streamsvc.demo import running_service
from streamsvc.ledger.conditions import conditions
from streamsvc.probe.chromium import EMPTY, EMPTY_PAGE, ChromiumCall, Film, chromium_call, film_body, write_wav

WARM_UP_S = 10
PERIOD_MS = 1_000
FULL_FPS = 25.0

# Every connection that the page opens can be asked, whoever opened it.
TAP = """
(() => {
  const Connection = window.RTCPeerConnection;
  window.connections = [];
  window.RTCPeerConnection = class extends Connection {
    constructor(...given) { super(...given); window.connections.push(this); }
  };
})();
"""
SENT = """
async () => {
  const reports = await Promise.all(window.connections.map((c) => c.getStats()));
  return reports.flatMap((r) => [...r.values()]).filter((s) => s.type === "outbound-rtp" && s.kind === "video")
    .map((s) => ({ id: s.id, at: s.timestamp, frames: s.framesEncoded ?? 0, bytes: s.bytesSent,
      width: s.frameWidth ?? 0, height: s.frameHeight ?? 0, limit: s.qualityLimitationReason ?? "" }));
}
"""
OFFER = """
async (count) => {
  const connection = new RTCPeerConnection({ iceServers: [] });
  const devices = (await navigator.mediaDevices.enumerateDevices()).filter((d) => d.kind === "videoinput");
  for (const { deviceId } of devices.slice(0, count)) {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { deviceId: { exact: deviceId } } });
    connection.addTransceiver(stream.getVideoTracks()[0], { direction: "sendonly" });
  }
  await connection.setLocalDescription(await connection.createOffer());
  while (connection.iceGatheringState !== "complete") await new Promise((r) => setTimeout(r, 50));
  return { sdp: connection.localDescription.sdp, type: "offer" };
}
"""
ANSWER = "(answer) => window.connections[0].setRemoteDescription(answer)"


@dataclass(frozen=True, slots=True)
class CamerasBench:
    """What to run: `cameras` of `size` at `fps` from one page for `seconds`, beside stock aiortc with `stock`."""

    out: Path
    cameras: int = 4
    size: tuple[int, int] = (640, 480)
    fps: float = 30.0
    seconds: float = 60.0
    stock: bool = True


@dataclass(frozen=True, slots=True)
class CameraRow:
    """What was sent of one camera: pictures a second over all, and in its worst five seconds; the share of the time at
    full size; bits a second; and the share of the time in which Chromium held back for `bandwidth` or `cpu`."""

    side: str
    camera: int
    fps: float
    least_fps: float
    full_size: float
    mbps: float
    bandwidth: float
    cpu: float


def rows(side: str, samples: Sequence[Sequence[dict[str, Any]]], size: tuple[int, int]) -> list[CameraRow]:
    """Return a row for every camera; `samples` hold, once a period, what Chromium says of each."""
    found = []
    for number, name in enumerate(s["id"] for s in samples[0]):
        seen = [s for sample in samples for s in sample if s["id"] == name]
        frames, at = (np.array([s[k] for s in seen], float) for k in ("frames", "at"))
        seconds = (at[-1] - at[0]) / 1000
        span = min(5, len(seen) - 1)
        rates = (frames[span:] - frames[:-span]) / ((at[span:] - at[:-span]) / 1000)

        def share(of: Callable[[dict[str, Any]], bool], seen: list[dict[str, Any]] = seen) -> float:
            return float(np.mean([of(s) for s in seen[1:]]))

        found.append(
            CameraRow(
                side=side,
                camera=number,
                fps=float(frames[-1] - frames[0]) / seconds,
                least_fps=float(rates.min()),
                full_size=share(lambda s: (s["width"], s["height"]) == size),
                mbps=(seen[-1]["bytes"] - seen[0]["bytes"]) * 8 / seconds / 1e6,
                bandwidth=share(lambda s: s["limit"] == "bandwidth"),
                cpu=share(lambda s: s["limit"] == "cpu"),
            )
        )
    return found


def table(found: Sequence[CameraRow]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"{'':14} {'camera':>6} {'fps':>6} {'least':>6} {'full size':>9} {'Mb/s':>6} {'bandwidth':>9} {'cpu':>5}"
    for r in found:
        yield (
            f"{r.side:14} {r.camera:>6} {r.fps:>6.1f} {r.least_fps:>6.1f} {r.full_size:>9.0%} {r.mbps:>6.2f} "
            f"{r.bandwidth:>9.0%} {r.cpu:>5.0%}"
        )


async def run_cameras(options: CamerasBench, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench and return its figures; `tell` is called with lines of progress and the table. Raises BrowserError
    where Chromium or Playwright is missing."""
    options.out.mkdir(parents=True, exist_ok=True)
    tell("rendering what the cameras see ...")
    film = await asyncio.to_thread(film_body, options.cameras, options.size, options.fps)
    mic = write_wav(options.out / "mic.wav", np.zeros(48_000, np.float32))
    width, height = options.size
    tell(f"{options.cameras} cameras {width}x{height} at {options.fps:g}, {options.seconds:g} s a side")
    async with running_service(options.out, "--no-speech", view=options.size) as (url, _):
        found = await asyncio.to_thread(_ours, url, film, mic, options, tell)
    if options.stock:
        found += await asyncio.to_thread(_stock, film, mic, options, tell)
    for line in table(found):
        tell(line)
    figures = {"conditions": conditions(), "options": asdict(options), "cameras": [asdict(r) for r in found]}
    (options.out / "cameras.json").write_text(json.dumps(figures, indent=1, default=str) + "\n", "utf-8")
    return figures


def _ours(url: str, film: Film, mic: Path, options: CamerasBench, tell: Callable[[str], None]) -> list[CameraRow]:
    rig_file = options.out / "rig.json"
    rig_file.write_text(json.dumps(film.rig.to_json()), "utf-8")
    with chromium_call(film, mic, scripts=[TAP]) as call:
        call.join(url, "cameras", rig_file, options.cameras, "es", mirror=False)
        return _watched(OURS, call, options, tell)


def _stock(film: Film, mic: Path, options: CamerasBench, tell: Callable[[str], None]) -> list[CameraRow]:
    with chromium_call(film, mic, scripts=[TAP]) as call, _stock_server() as server:
        call.page.route(EMPTY_PAGE, lambda route: route.fulfill(**EMPTY))
        call.page.goto(EMPTY_PAGE)
        server.stdin.write(json.dumps(call.page.evaluate(OFFER, options.cameras)) + "\n")
        server.stdin.flush()
        call.page.evaluate(ANSWER, json.loads(server.stdout.readline()))
        return _watched(STOCK, call, options, tell)


@contextmanager
def _stock_server() -> Iterator[Any]:
    command = [sys.executable, str(cameras_stock.__file__)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def _watched(side: str, call: ChromiumCall, options: CamerasBench, tell: Callable[[str], None]) -> list[CameraRow]:
    call.page.wait_for_timeout(WARM_UP_S * 1000)
    samples = [call.page.evaluate(SENT)]
    for second in range(round(options.seconds)):
        call.page.wait_for_timeout(PERIOD_MS)
        samples.append(call.page.evaluate(SENT))
        if second % 10 == 9:
            tell(f"{side}: {second + 1} of {options.seconds:g} s")
    return rows(side, samples, options.size)
