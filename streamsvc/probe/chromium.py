"""Headless Chromium as a participant: cameras that see a rendered person, a microphone that hears recorded speech.

The page is used as it is. Only the devices are ours: `getUserMedia` returns canvases that play pictures rendered
beforehand, all cameras at the same instants, and Chromium's own fake microphone plays a file. Needs the package
`playwright` and Debian's `chromium`; raises BrowserError where they are missing.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from streamsvc.errors import StreamsvcError
from streamsvc.frames import Rig, Samples
from streamsvc.scene import open_scene

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
)
JOIN_S = 90.0

# The films play on canvases, drawn by one timer so that all cameras see the same instant. Who wants to draw something
# more defines `onFilmDrawn(context, camera)` and is told by `onFilmsDrawn()` that an instant is complete.
DEVICES = """
(() => {
  const { films, width, height, fps } = __FILMS__;
  const media = navigator.mediaDevices;
  const realMedia = media.getUserMedia.bind(media), realList = media.enumerateDevices.bind(media);
  const decode = (text) =>
    createImageBitmap(new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], { type: "image/jpeg" }));
  const open = new Map();
  let pictures = null;
  const start = performance.now();
  setInterval(async () => {
    pictures ??= Promise.all(films.map((film) => Promise.all(film.map(decode))));
    const ready = await pictures;
    const n = ready[0].length, k = Math.floor(((performance.now() - start) / 1000) * fps) % (2 * n - 2);
    for (const [i, canvas] of open) {
      const context = canvas.getContext("2d");
      context.drawImage(ready[i][k < n ? k : 2 * n - 2 - k], 0, 0);
      window.onFilmDrawn?.(context, i);
    }
    if (open.size) window.onFilmsDrawn?.();
  }, 1000 / fps);
  const camera = (i) => {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    canvas.getContext("2d");
    open.set(i, canvas);
    return canvas.captureStream(fps).getVideoTracks()[0];
  };
  media.enumerateDevices = async () => [
    ...films.map((_, i) => ({ deviceId: `film${i}`, groupId: "film", kind: "videoinput", label: `Film camera ${i}` })),
    ...(await realList()).filter((d) => d.kind === "audioinput"),
  ];
  media.getUserMedia = async (wanted) => {
    const stream = wanted.audio ? await realMedia({ audio: wanted.audio }) : new MediaStream();
    if (wanted.video) stream.addTrack(camera(Number(/\\d+$/.exec(wanted.video.deviceId?.exact ?? "film0")[0])));
    return stream;
  };
})();
"""


EMPTY_PAGE = "http://localhost/"
EMPTY = {"body": "<!doctype html>", "content_type": "text/html"}
"""What to fulfil requests for it with: a page with an origin, as cameras and connections need, without a server."""


class BrowserError(StreamsvcError):
    """Chromium or Playwright is missing, or the page did not get into the call."""


@dataclass(frozen=True, slots=True)
class Film:
    """What the cameras play, to and fro: JPEG pictures per camera in rig order, and the rig that took them."""

    rig: Rig
    pictures: tuple[tuple[bytes, ...], ...]
    fps: float

    def script(self) -> str:
        """Return what makes a page's cameras play it."""
        document = {
            "films": [[base64.b64encode(p).decode() for p in film] for film in self.pictures],
            "width": self.rig.cameras[0].width,
            "height": self.rig.cameras[0].height,
            "fps": self.fps,
        }
        return DEVICES.replace("__FILMS__", json.dumps(document))


def film_body(cameras: int, size: tuple[int, int], fps: float, seconds: float = 3.0) -> Film:
    """Render a person for `cameras` cameras; the film is `seconds` long, and then runs backwards."""
    scene = open_scene("body")
    rig = scene.rig(cameras, *size)
    pictures = []
    for camera in rig.cameras:
        film = []
        for k in range(round(seconds * fps)):
            bgr = cv2.cvtColor(scene.render(camera, k / fps).rgb, cv2.COLOR_RGB2BGR)
            film.append(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())
        pictures.append(tuple(film))
    return Film(rig, tuple(pictures), fps)


def write_wav(path: Path, samples: Samples) -> Path:
    """Write 48 kHz mono sound for Chromium's fake microphone."""
    with wave.open(str(path), "wb") as f:
        f.setparams((1, 2, 48_000, 0, "NONE", ""))
        f.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


class ChromiumCall:
    """One page in one call."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: self.errors.append(str(e)))

    def join(
        self,
        url: str,
        room: str,
        rig_file: Path | None,
        cameras: int,
        source: str,
        token: str | None = None,
        *,
        mirror: bool = True,
    ) -> None:
        """Fill in the join screen and wait until media flows, in a mirror room until the view does; raises
        BrowserError."""
        page = self.page
        page.goto(f"{url.rstrip('/')}/room/{room}{'?mirror' if mirror else ''}")
        if token is not None:
            page.fill("[name=token]", token)
        page.fill("[name=name]", "Chromium")
        page.select_option("[name=source]", source)
        if page.locator("[data-ui=find]").is_visible():
            page.click("[data-ui=find]")
        page.locator(".tile:not(.unused)").first.wait_for()
        for n in range(2, cameras + 1):
            page.locator(".tile .add").first.click()
            self.until(f"document.querySelectorAll('.tile:not(.unused)').length === {n}")
        if rig_file is not None:
            page.locator("[data-ui=rig]").set_input_files(str(rig_file))
        page.click("#form [type=submit]")
        self.until("window.streamsvc.state === 'in-call'")
        if mirror:
            self.until("window.streamsvc.stats.framesShown > 0")

    def until(self, expression: str) -> None:
        """Wait until a JavaScript expression is true in the page; raises BrowserError with what the page shows."""
        deadline = time.monotonic() + JOIN_S
        while not self.page.evaluate(expression):
            if time.monotonic() > deadline:
                shown = str(self.page.evaluate("document.body.innerText"))[:400]
                raise BrowserError(f"the page never got to {expression}; it shows: {shown}; console: {self.errors}")
            self.page.wait_for_timeout(50)

    def renderers(self) -> list[int]:
        """Return the process ids of the renderers of this process's browsers."""
        parents, found = {}, []
        for folder in Path("/proc").iterdir():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if b"--type=renderer" in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
            except (ValueError, OSError):
                continue  # no process, or not any more

        def ours(pid: int) -> bool:
            while pid not in (0, os.getpid()):
                pid = parents.get(pid, 0)
            return pid != 0

        return [pid for pid in found if ours(pid)]

    def stats(self) -> dict[str, Any]:
        """Return what the page's hook shows."""
        stats: dict[str, Any] = self.page.evaluate("window.streamsvc.stats")
        return stats


def chromium_path() -> str:
    """Return where Chromium is installed; raises BrowserError where it isn't."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if (found := shutil.which(name)) is not None:
            return found
    raise BrowserError("no Chromium is installed (Debian's package chromium)")


@contextmanager
def chromium_call(
    film: Film | None, mic: Path, *flags: str, scripts: Sequence[str] = (), insecure: bool = False
) -> Iterator[ChromiumCall]:
    """Open Chromium with a film for its cameras (None: its own fake one), a file for its microphone (played once beside
    a film, else again and again), more `flags`, and `scripts` that every page begins with; `insecure` takes any
    certificate."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise BrowserError("playwright isn't installed (pip install 'streamsvc[dev]')") from None
    executable = chromium_path()
    with sync_playwright() as p:
        sound = f"--use-file-for-fake-audio-capture={mic}{'%noloop' if film else ''}"
        browser = p.chromium.launch(executable_path=executable, args=[*FLAGS, *flags, sound, "--headless=new"])
        try:
            context = browser.new_context(viewport={"width": 1280, "height": 800}, ignore_https_errors=insecure)
            context.grant_permissions(["camera", "microphone"])
            for script in (*scripts, *([film.script()] if film else [])):
                context.add_init_script(script)
            yield ChromiumCall(context.new_page())
        finally:
            browser.close()
