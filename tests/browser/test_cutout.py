"""Output mode `cutout` on the page: the person over the viewer's own backdrop, which never leaves it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser

from streamsvc.frames.backdrop import Backdrop
from streamsvc.frames.outputmode import parse_mode
from streamsvc.view.backdrop import over
from streamsvc.view.compose import View
from streamsvc.view.modes import assemble, shoot

from .conftest import Service, Visitor, open_visit
from .test_warp import SCREEN, H, W

RED, GREEN = (200, 30, 20), (20, 180, 40)
CUT = """async ([data, width, height]) => {
  const bytes = Uint8ClampedArray.from(atob(data), (c) => c.charCodeAt(0));
  const { Cutout } = await import("/cutout.js");
  const canvas = document.createElement("canvas");
  new Cutout(canvas).draw(new ImageData(bytes, width, height), width, (height * 2) / 3);
  const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
  copy.getContext("2d").drawImage(canvas, 0, 0);
  const out = copy.getContext("2d").getImageData(0, 0, copy.width, copy.height).data;
  let text = "";
  for (let i = 0; i < out.length; i += 4096) text += String.fromCharCode(...out.subarray(i, i + 4096));
  return [canvas.width, canvas.height, btoa(text)];
}"""


@pytest.fixture
def page(drawing: Browser, service: Service) -> Iterator[Visitor]:
    visitor = open_visit(drawing)
    yield visitor
    assert not visitor.errors
    visitor.context.close()


def test_the_canvas_has_the_persons_colours_and_alpha_and_none_of_the_room(page: Visitor, service: Service) -> None:
    page.page.goto(f"{service.url}/room/cut")
    y, x = np.mgrid[0:H, 0:W]
    matte = np.clip((70 - np.hypot(x - W / 2, y - H / 2)) / 3 + 0.5, 0, 1).astype(np.float32)
    room = matte[..., None] * np.array(RED) + (1 - matte[..., None]) * np.array(GREEN)
    view = View((room + 0.5).astype(np.uint8), np.ones_like(matte), np.ones_like(matte), matte=matte)
    shot = shoot(parse_mode("cutout"), SCREEN, np.zeros((1, 3)), W, H)
    picture = assemble(shot, [over(view, Backdrop("transparent"))]).pixels
    assert picture.shape == (H * 3 // 2, W, 3)
    assert np.abs(picture[:H].astype(int) - RED).max() <= 8, "the room isn't sent"
    rgba = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
    w, h, out = page.page.evaluate(CUT, [base64.b64encode(rgba.tobytes()).decode(), W, H * 3 // 2])
    drawn = np.frombuffer(base64.b64decode(out), np.uint8).reshape(h, w, 4).astype(float)
    assert (h, w) == (H, W)
    assert np.abs(drawn[..., 3] / 255 - matte).mean() < 0.005
    assert np.abs(drawn[matte == 1][:, :3] - RED).max() <= 8
    assert (drawn[matte == 0][:, 3] == 0).mean() > 0.97


def test_a_picture_of_the_viewers_own_stands_behind_the_person_in_a_call(
    page: Visitor, service: Service, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.png"
    cv2.imwrite(str(mine), np.full((30, 40, 3), 90, np.uint8))
    page.join("cutout", url=service.url, viewer=True)
    page.in_call()
    page.page.click("[data-call=settings]")
    assert page.page.locator("[data-set=own]").is_hidden()
    page.page.select_option("[data-set=mode]", "cutout")
    page.until("window.__heard.filter((m) => m.type === 'configured').at(-1)?.settings.view.mode === 'cutout'")
    page.page.set_input_files("#own-file", str(mine))
    page.until("document.getElementById('own').width === 40")
    page.until("window.streamsvc.stats.framesShown > 3")
    assert page.stats()["cutout"] == 0, "pictures of another shape aren't taken for cutouts"
    assert page.page.locator("#cutout").is_hidden()
    (tmp_path / "mine.txt").write_text("no picture")
    page.page.set_input_files("#own-file", str(tmp_path / "mine.txt"))
    page.until("window.streamsvc.stats.notices.some((n) => n.code === 'bad-picture')")
