"""Headless Chromium with two fake cameras and a fake microphone, and the service that it joins.

The service is a process behind `Service`, so that it can be killed and come back on its port. Nothing here waits for a
fixed time: a page is asked until it says what is expected, or the test fails.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

HERE = Path(__file__).parent
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream=device-count=2",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
]
DRAWING = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
START_S = 120
# Keeps what the page says: `__sent` by data channel, `__said` and `__heard` over the WebSocket. Changes nothing.
TAP = """
(() => {
  Object.assign(window, { __sent: {}, __said: [], __heard: [] });
  const onChannel = RTCDataChannel.prototype.send;
  RTCDataChannel.prototype.send = function (data) {
    (window.__sent[this.label] ??= []).push(JSON.parse(data));
    return onChannel.call(this, data);
  };
  const onSocket = WebSocket.prototype.send;
  WebSocket.prototype.send = function (data) {
    if (!window.__said.length) this.addEventListener("message", (e) => window.__heard.push(JSON.parse(e.data)));
    window.__said.push(JSON.parse(data));
    return onSocket.call(this, data);
  };
})();
"""


def free_port() -> int:
    """Return a TCP port that nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


class Service:
    """The service under test as a process on one port: `url`, `start()`, `kill()`."""

    def __init__(self, *, token: str | None = None, host: str = "127.0.0.1") -> None:
        self.port = free_port()
        self.host = host
        self.token = token
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The page's address on this machine."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """Return what is run."""
        more = ["--token", self.token] if self.token else []
        run = [sys.executable, "-m", "tests.browser.fake_server"]
        return [*run, "--host", self.host, "--port", str(self.port), *more]

    def start(self) -> Service:
        """Start and wait until it answers."""
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
        self.process = subprocess.Popen(self.command(), env=env)
        deadline = time.monotonic() + START_S
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/healthz", timeout=2).close()
                return self
            except OSError:
                assert self.process.poll() is None, "the service ended"
                assert time.monotonic() < deadline, f"the service did not answer in {START_S} s"
                time.sleep(0.05)

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        if self.process:
            self.process.terminate()
            self.process.wait(timeout=30)
            self.process = None

    def kill(self) -> None:
        """End it without goodbye."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def launch(*more: str) -> Iterator[Browser]:
    """Start Debian's Chromium with fake devices and `more` flags."""
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path="/usr/bin/chromium", args=[*FLAGS, *more, "--headless=new"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def services() -> Iterator[Callable[..., Service]]:
    """Return a function that starts a service; all end with the session."""
    started: list[Service] = []

    def start(**options: str) -> Service:
        started.append(Service(**options))
        return started[-1].start()

    yield start
    for s in started:
        s.kill()


@pytest.fixture(scope="session")
def service(services: Callable[..., Service]) -> Service:
    """The service that most tests share."""
    return services()


@pytest.fixture(scope="session")
def guarded(services: Callable[..., Service]) -> Service:
    """A service that wants the token "open sesame" and listens on every address of this machine."""
    return services(token="open sesame", host="0.0.0.0")


@pytest.fixture(scope="session")
def mortal_service(services: Callable[..., Service]) -> Service:
    """The service that gets killed."""
    return services()


@pytest.fixture
def mortal(mortal_service: Service) -> Service:
    """The service that gets killed, alive at the start of a test."""
    return mortal_service if mortal_service.process else mortal_service.start()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser a module: Playwright's event loop must be gone before a test that brings its own."""
    with launch() as browser:
        yield browser


@pytest.fixture(scope="module")
def drawing() -> Iterator[Browser]:
    """The same, and it draws WebGL in software."""
    with launch(*DRAWING) as browser:
        yield browser


class Visitor:
    """A page, its console errors and its requests. `forgive` holds parts of console errors that the test provokes."""

    forgive: tuple[str, ...] = ()

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        context.add_init_script(TAP)
        self.page: Page = context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.on("websocket", lambda w: self.requests.append(w.url))

    def until(self, expression: str, what: str | None = None, *, limit_s: float = 20) -> None:
        """Wait until a JavaScript expression is true in the page."""
        # The page's content security policy forbids the eval that wait_for_function is made of; evaluate is not.
        deadline = time.monotonic() + limit_s
        while not self.page.evaluate(expression):
            if time.monotonic() > deadline:
                shown = self.page.evaluate("document.body.innerText")
                raise AssertionError(f"never true: {what or expression}; {self.errors}; the page shows:\n{shown}")
            self.page.wait_for_timeout(40)

    def in_call(self) -> None:
        """Wait until media flows."""
        self.until("window.streamsvc.state === 'in-call'")

    def problem(self) -> str:
        """Wait for the notice on the join screen and return what it says."""
        self.page.locator("#problem").wait_for()
        return self.page.locator("#problem").inner_text()

    def stats(self) -> dict:
        """Return what the hook shows."""
        stats: dict = self.page.evaluate("window.streamsvc.stats")
        return stats

    def check(self) -> None:
        """Assert what is true of every visit: one origin, a clean console, no message that the service refused."""
        origin = self.page.evaluate("location.host")
        strangers = [u for u in self.requests if u.split("/")[2] != origin and not u.startswith(("blob:", "data:"))]
        assert not strangers, f"requests left the origin: {strangers}"
        errors = [e for e in self.errors if not any(f in e for f in self.forgive)]
        assert not errors, f"the console has errors: {errors}"
        refused = [n for n in self.stats()["notices"] if n["code"] in ("bad-message", "not-json", "too-large")]
        assert not refused, f"the service refused messages: {refused}"

    def sent(self, channel: str) -> list[dict]:
        """Return what left on a data channel so far."""
        messages: list[dict] = self.page.evaluate("c => window.__sent[c] ?? []", channel)
        return messages

    def join(self, room: str, *, name: str = "Ana", url: str, cameras: int = 2, viewer: bool = False) -> None:
        """Fill in the join screen and enter."""
        page = self.page
        page.goto(f"{url}/room/{room}")
        page.fill("[name=name]", name)
        if viewer:
            page.check("[name=viewer]")
        else:
            self.choose(cameras)
        page.click("#form [type=submit]")

    def choose(self, cameras: int, *, ask: bool = False) -> None:
        """Wait for the first camera and the microphone, which open by themselves where they are allowed (`ask`: press
        the button), and add more cameras."""
        if ask:
            self.page.click("[data-ui=find]")
        self.page.locator(".tile:not(.unused)").first.wait_for()
        for n in range(2, cameras + 1):
            self.page.locator(".tile .add").first.click()
            self.until(f"document.querySelectorAll('.tile:not(.unused)').length === {n}")


def open_visit(chromium: Browser, *, devices: bool = True, **options) -> Visitor:
    """Open a page in a context of its own; without `devices` cameras and microphone are not allowed."""
    context = chromium.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
    if devices:
        context.grant_permissions(["camera", "microphone"])
    return Visitor(context)


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Callable[..., Visitor]]:
    """Return a function that opens a page of its own (own context, 1280x800, devices allowed unless told otherwise).

    Every visit is checked at the end of its test."""
    visitors: list[Visitor] = []

    def open_page(**options) -> Visitor:
        visitors.append(open_visit(chromium, **options))
        return visitors[-1]

    yield open_page
    try:
        for v in visitors:
            v.check()
    finally:
        for v in visitors:
            v.context.close()


@pytest.fixture(scope="module")
def run(chromium: Browser, service: Service) -> Iterator[Callable[..., Any]]:
    """Return a function that runs `async (modules, argument) => ...` in a page, `modules` those named."""
    visitor = open_visit(chromium)
    visitor.page.goto(f"{service.url}/favicon.svg")

    def call(names: str, body: str, argument: Any = None) -> Any:
        imports = ", ".join(f"...(await import('/{name}.js'))" for name in names.split())
        return visitor.page.evaluate(f"async (argument) => {{ const m = {{ {imports} }}; {body} }}", argument)

    yield call
    visitor.context.close()
