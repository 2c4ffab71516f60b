"""Headless Chromium as a child of `bench edge`: a page that offers to receive, and shows what ours or stock aiortc
sends.

A picture is there when it is decoded and given to the compositor: `presentationTime` of `requestVideoFrameCallback`;
it is seen at the display's next refresh. Of each the card's pixels are kept, and `captureTime`: when Chromium believes
it was captured, from the sender reports alone, once it has measured a round trip, for which the page sends a small
picture. The page's clock is brought to the host's by asking it, the quickest of `ASKED` times.
"""

from __future__ import annotations

import asyncio
import base64
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamsvc.bench import edge_child
from streamsvc.bench.edge_child import Recorder
from streamsvc.probe.chromium import EMPTY, EMPTY_PAGE, FLAGS, BrowserError, chromium_path

ASKED = 40
POLL_S = 0.25

WATCH = """
async ({ box, step, width, height }) => {
  const connection = new RTCPeerConnection({ iceServers: [] });
  const video = Object.assign(document.createElement("video"), { autoplay: true, muted: true, playsInline: true });
  document.body.append(video);
  const [x0, y0, x1, y1] = box;
  const canvas = Object.assign(document.createElement("canvas"), { width: x1 - x0, height: y1 - y0 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const seen = [];
  const onFrame = (_, { presentationTime, captureTime }) => {
    video.requestVideoFrameCallback(onFrame);
    if (video.videoWidth !== width || video.videoHeight !== height) return;
    context.drawImage(video, -x0, -y0);
    const { data } = context.getImageData(0, 0, x1 - x0, y1 - y0);
    let card = "";
    for (let y = 0; y < y1 - y0; y += step)
      for (let x = 0; x < x1 - x0; x += step) card += String.fromCharCode(data[4 * (y * (x1 - x0) + x) + 1]);
    seen.push([presentationTime, captureTime ?? null, btoa(card)]);
  };
  video.requestVideoFrameCallback(onFrame);
  connection.ontrack = ({ track }) => {
    if (track.kind === "video") video.srcObject = new MediaStream([track]);
  };
  window.takeSeen = () => seen.splice(0);
  window.connection = connection;
  const own = Object.assign(document.createElement("canvas"), { width: 160, height: 120 });
  const pen = own.getContext("2d");
  setInterval(() => pen.fillRect(Math.random() * 160, 0, 1, 120), 200);
  connection.addTransceiver(own.captureStream(5).getVideoTracks()[0], { direction: "sendrecv" });
  await connection.setLocalDescription(await connection.createOffer());
  while (connection.iceGatheringState !== "complete") await new Promise((r) => setTimeout(r, 20));
  return connection.localDescription.sdp;
}
"""
ANSWER = '(sdp) => window.connection.setRemoteDescription({ type: "answer", sdp })'


@dataclass(frozen=True, slots=True)
class PageClock:
    """The page's `performance.now()` on the host's monotonic clock: its zero, and by how much that may be off."""

    zero_ns: int
    error_ns: int

    def instant(self, page_ms: float) -> int:
        """Return an instant of the page in ns on the monotonic clock."""
        return self.zero_ns + round(page_ms * 1e6)


class ChromiumPage:
    """See `edge_child.Page`."""

    def __init__(self) -> None:
        self._playwright: Any = None
        self._browser: Any = None
        self._page: Any = None
        self._reading: asyncio.Future[None] | None = None

    async def offer(self, recorder: Recorder) -> str:
        """Return the page's offer; raises BrowserError where Chromium or Playwright is missing."""
        page = self._page = await self._open()
        (width, height), box, step = recorder.size, recorder.box, recorder.step
        offer: str = await page.evaluate(WATCH, {"box": box, "step": step, "width": width, "height": height})
        self._reading = asyncio.ensure_future(self._read(recorder, await _clock(page)))
        return offer

    async def connect(self, answer: str) -> None:
        """Take the answer."""
        await self._page.evaluate(ANSWER, answer)

    async def close(self) -> None:
        """End the page and its browser."""
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading
        if self._browser is not None:
            await self._browser.close()
        if self._playwright is not None:
            await self._playwright.stop()

    async def _open(self) -> Any:
        try:
            from playwright.async_api import async_playwright
        except ImportError:
            raise BrowserError("playwright isn't installed (pip install 'streamsvc[dev]')") from None
        path = chromium_path()
        self._playwright = await async_playwright().start()
        self._browser = await self._playwright.chromium.launch(executable_path=path, args=[*FLAGS, "--headless=new"])
        page = await self._browser.new_page()
        await page.route(EMPTY_PAGE, lambda route: route.fulfill(**EMPTY))
        await page.goto(EMPTY_PAGE)
        return page

    async def _read(self, recorder: Recorder, clock: PageClock) -> None:
        x0, y0, x1, y1 = recorder.box
        step = recorder.step
        shape = (-(-(y1 - y0) // step), -(-(x1 - x0) // step))
        while True:
            await asyncio.sleep(POLL_S)
            for shown_ms, capture_ms, card in await self._page.evaluate("window.takeSeen()"):
                pixels = np.frombuffer(base64.b64decode(card), np.uint8).reshape(shape)
                believed = None if capture_ms is None else clock.instant(capture_ms)
                recorder.keep(clock.instant(shown_ms), pixels, believed)


async def _clock(page: Any) -> PageClock:
    best = PageClock(0, 1 << 62)
    for _ in range(ASKED):
        before = time.monotonic_ns()
        now_ms = float(await page.evaluate("performance.now()"))
        after = time.monotonic_ns()
        if after - before < 2 * best.error_ns:
            best = PageClock((before + after) // 2 - round(now_ms * 1e6), (after - before) // 2)
    return best


if __name__ == "__main__":
    edge_child.run(None, ChromiumPage)
