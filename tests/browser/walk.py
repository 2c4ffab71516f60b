"""Five tasks of somebody who uses the page for the first time, each from the page alone, against the real service.

`python -m tests.browser.walk OUT`: joins a friend, sets up two cameras, switches the language, finds out why it
stutters and saves the transcript, in headless Chromium; OUT gets a picture of every step. Exit status 1 when a task
can't be done. It takes over a minute, so it is no test.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser

from streamsvc.demo import running_service
from streamsvc.peer.sources import open_microphone
from streamsvc.probe.chromium import film_body, write_wav

from .conftest import DRAWING, Visitor, launch, open_visit
from .test_setup import DEVICES, instants, show, show_all

SPEECH_S = 120
SLOW_MS = 160
"""What is added to every view where it is to stutter: more than a frame period."""


class Walk:
    """Pages in one browser, and the pictures of their steps."""

    def __init__(self, browser: Browser, url: str, out: Path) -> None:
        self.browser, self.url, self.out = browser, url, out
        self.film = film_body(2, (320, 240), 15.0, seconds=2.0)

    @contextmanager
    def visitor(self, *scripts: str) -> Iterator[Visitor]:
        """Open a page of its own, and check at the end that nothing went wrong on it."""
        v = open_visit(self.browser)
        for script in scripts:
            v.context.add_init_script(script)
        try:
            yield v
            v.check()
        finally:
            v.context.close()

    def snap(self, v: Visitor, name: str) -> None:
        """Keep how a step looks."""
        v.page.screenshot(path=str(self.out / f"{name}.png"))
        print(f"{name}: {v.page.locator('h1:visible').first.inner_text()}", flush=True)

    def rig(self) -> Path:
        """Return the file of the rig that filmed."""
        file = self.out / "rig.json"
        file.write_text(json.dumps(self.film.rig.to_json()), "utf-8")
        return file

    def arrive(self, v: Visitor, path: str, name: str, cameras: int) -> None:
        """Fill in the join screen."""
        v.page.goto(self.url + path)
        v.page.fill("[name=name]", name)
        v.choose(cameras)

    def with_rig(self, v: Visitor, room: str, source: str) -> None:
        """Join a mirror room with two cameras and their rig."""
        self.arrive(v, f"/room/{room}?mirror", "Ana", 2)
        v.page.set_input_files("[data-ui=rig]", str(self.rig()))
        v.page.select_option("[name=source]", source)
        v.page.click("#form [type=submit]")
        v.in_call()


def join_a_friend(walk: Walk) -> None:
    """Ana tests her connection, joins, and hands the address on; Ben opens it."""
    with walk.visitor(walk.film.script()) as ana, walk.visitor(walk.film.script()) as ben:
        walk.arrive(ana, "", "Ana", 1)
        ana.page.fill("[name=room]", "kitchen")
        walk.snap(ana, "1a-before")
        ana.page.click("#test")
        ana.until("document.querySelector('#test-told').dataset.grade", limit_s=60)
        walk.snap(ana, "1b-tested")
        ana.page.click("#form [type=submit]")
        ana.in_call()
        ana.page.locator("#invite").wait_for()
        walk.snap(ana, "1c-alone")
        walk.arrive(ben, ana.page.evaluate("location.pathname"), "Ben", 1)
        walk.snap(ben, "1d-invited")
        ben.page.click("#form [type=submit]")
        ben.in_call()
        for v in (ana, ben):
            v.until("window.streamsvc.stats.framesShown > 20", limit_s=60)
        ana.until("window.streamsvc.stats.captions.length > 0", limit_s=60)
        walk.snap(ana, "1e-together")


def set_up_two_cameras(walk: Walk) -> None:
    """From the join screen to a rig, with rendered boards."""
    with walk.visitor(DEVICES) as v:
        walk.arrive(v, "", "Ana", 1)
        v.page.click("details.more summary")
        walk.snap(v, "2a-where")
        v.page.click("[data-ui=setup]")
        v.until("document.querySelectorAll('#setup [data-setup=cameras] .tile:not(.unused)').length === 2")
        show(v, instants()[0])
        v.until("document.querySelector('#setup .tile .verdicts').innerText.includes('is sharp')")
        v.until("document.querySelector('[data-setup=sound]').innerText.includes('heard well')")
        walk.snap(v, "2b-cameras")
        v.page.click("[data-part=cameras] [data-enter=board]")
        v.page.select_option("[data-setup=place]", "a3")
        v.page.wait_for_load_state("networkidle")
        v.until("!document.querySelector('[data-setup=board]').hidden")
        walk.snap(v, "2c-board")
        v.page.click("[data-part=board] [data-enter=show]")
        show_all(v, instants()[:7])
        walk.snap(v, "2d-showing")
        show_all(v, instants())
        v.until("document.querySelector('[data-setup=now]').innerText.includes('That is enough')")
        v.page.click("[data-setup=finish]")
        v.page.locator("[data-part=rig]").wait_for()
        walk.snap(v, "2e-rig")
        v.page.click("[data-part=rig] [data-leave]")
        v.until("document.querySelector('[data-ui=rigname]').textContent.startsWith('set up on')")
        walk.snap(v, "2f-back")


def switch_the_language_and_save(walk: Walk) -> None:
    """In a call whose voice was said to be French and is Spanish; then the transcript is read and saved."""
    with walk.visitor(walk.film.script()) as v:
        walk.with_rig(v, "language", "fr")
        v.until("window.streamsvc.stats.framesShown > 20", limit_s=60)
        v.page.click("[data-call=settings]")
        walk.snap(v, "3a-settings")
        v.page.select_option("[data-set=source]", "es")
        v.until("window.__heard.filter((m) => m.type === 'configured').at(-1)?.settings.speech.source === 'es'")
        captions = len(v.stats()["captions"])
        v.until(f"window.streamsvc.stats.captions.length > {captions + 1}", limit_s=60)
        walk.snap(v, "3b-switched")
        v.page.click("[data-call=transcript]")
        v.until("document.querySelector('#transcript').innerText.length > 60", limit_s=60)
        walk.snap(v, "5a-transcript")
        v.page.select_option("#save-format", "vtt")
        with v.page.expect_download() as download:
            v.page.click("[data-call=save]")
        download.value.save_as(walk.out / "transcript.vtt")
        walk.snap(v, "5b-saved")


def find_out_why_it_stutters(walk: Walk) -> None:
    """On a service that is too slow for its cameras: the figures above the picture, and the charts behind them."""
    with walk.visitor(walk.film.script()) as v:
        walk.with_rig(v, "stutter", "es")
        v.page.locator("[data-call=stutters]").wait_for(timeout=60_000)
        walk.snap(v, "4a-stutters")
        v.page.click("#meter")
        v.until("window.streamsvc.stats.budget.frames > 60", limit_s=60)
        walk.snap(v, "4b-why")
        v.page.evaluate("document.querySelector('[data-budget=misses]').scrollIntoView({ block: 'center' })")
        walk.snap(v, "4c-reasons")


def walked(url: str, out: Path, *tasks) -> list[str]:
    """Do the tasks in one browser; return what went wrong."""
    mic = write_wav(out / "mic.wav", open_microphone(f"synthetic:es:{SPEECH_S}").read(SPEECH_S * 48_000))
    wrong = []
    with launch(*DRAWING, f"--use-file-for-fake-audio-capture={mic}") as browser:
        walk = Walk(browser, url, out)
        for task in tasks:
            try:
                task(walk)
            except Exception as e:
                wrong.append(f"{task.__name__}: {str(e)[:400]}")
    return wrong


async def run(out: Path) -> list[str]:
    """Run all tasks, the one about stuttering on a service of its own that is too slow."""
    async with running_service(out, view=(320, 240)) as (url, _):
        wrong = await asyncio.to_thread(
            walked, url, out, join_a_friend, set_up_two_cameras, switch_the_language_and_save
        )
    slow = ("--extra-stage-ms", str(SLOW_MS))
    async with running_service(out, *slow, view=(320, 240)) as (url, _):
        return wrong + await asyncio.to_thread(walked, url, out, find_out_why_it_stutters)


def main() -> None:
    """Walk, and say what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    wrong = asyncio.run(run(out))
    for line in wrong:
        print(line, file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
