"""The real service in headless Chromium: two cameras that see a person, a microphone that hears Spanish."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from streamsvc.demo import running_service
from streamsvc.ledger import read_ledger
from streamsvc.peer.sources import open_microphone
from streamsvc.probe import ProbeOptions, browser, run_probe
from streamsvc.probe.chromium import ChromiumCall, chromium_call, film_body, write_wav

from .conftest import DRAWING
from .headset import DOUBLE, eyes_of, wear

SECONDS = 20
VIEW = """() => {
  const view = document.getElementById('view'), c = document.createElement('canvas');
  c.width = view.videoWidth; c.height = view.videoHeight;
  const g = c.getContext('2d'); g.drawImage(view, 0, 0);
  return [c.width, c.height, [...g.getImageData(0, 0, c.width, c.height).data]];
}"""


def shown(call: ChromiumCall) -> np.ndarray:
    width, height, data = call.page.evaluate(VIEW)
    return np.array(data, np.uint8).reshape(height, width, 4)[..., :3]


def moved_from(before: np.ndarray, call: ChromiumCall) -> np.ndarray:
    """Return the first picture that is clearly another view (motion alone changes about 4 levels), else the last one:
    how many pictures were on their way when the eye moved depends on the machine."""
    for _ in range(100):
        picture = shown(call)
        if np.abs(picture.astype(float) - before).mean() > 12:
            break
        frames = call.stats()["framesShown"]
        call.until(f"window.streamsvc.stats.framesShown > {frames}")
    return picture


def visit(url: str, folder: Path) -> dict:
    film = film_body(2, (320, 240), 10.0, seconds=1.0)
    rig = folder / "rig.json"
    rig.write_text(json.dumps(film.rig.to_json()))
    microphone = open_microphone(f"synthetic:es:{SECONDS}")
    mic = write_wav(folder / "mic.wav", microphone.read((SECONDS + 2) * 48_000))
    with chromium_call(film, mic) as call:
        call.join(url, "visit", rig, 2, "es")
        call.until("window.streamsvc.stats.live?.cameras === 2")
        call.page.mouse.move(300, 400)
        frames = call.stats()["framesShown"]
        call.until(f"window.streamsvc.stats.framesShown > {frames + 8}")
        pictures = [shown(call)]
        call.page.mouse.move(980, 400)
        pictures.append(moved_from(pictures[0], call))
        call.page.click("#meter")
        captions = call.stats()["captions"]
        call.until(f"window.streamsvc.stats.captions.length >= {len(captions) + 2}")
        call.until("document.querySelector('[data-budget=bitratesSay]').textContent.startsWith('Now')")
        with call.page.expect_download() as download:
            call.page.click("[data-budget=save]")
        download.value.save_as(folder / "capture.jsonl")
        call.page.screenshot(path=str(folder / "page.png"))
        return {"stats": call.stats(), "pictures": pictures, "errors": call.errors}


def visit_packed(url: str, folder: Path) -> dict:
    film = film_body(2, (320, 240), 10.0, seconds=1.0)
    rig = folder / "rig.json"
    rig.write_text(json.dumps(film.rig.to_json()))
    mic = write_wav(folder / "mic.wav", np.zeros(48_000, np.float32))
    with chromium_call(film, mic, "--use-angle=swiftshader", "--enable-unsafe-swiftshader") as call:
        call.join(url, "packed", rig, 2, "es")
        call.page.click("[data-call=settings]")
        call.page.select_option("[data-set=mode]", "packed")
        call.until("window.streamsvc.stats.videoSize[1] === 408")
        call.until("window.streamsvc.stats.warped > 0 && !document.getElementById('warped').hidden")
        call.page.mouse.move(500, 400)
        warped = call.stats()["warped"]
        call.until(f"window.streamsvc.stats.warped > {warped + 10}")
        size = call.page.evaluate("(({ width, height }) => [width, height])(document.getElementById('warped'))")
        call.page.screenshot(path=str(folder / "packed.png"))
        call.page.select_option("[data-set=mode]", "stereo")
        call.until("window.streamsvc.stats.videoSize[0] === 640 && document.getElementById('warped').hidden")
        return {"size": size, "errors": call.errors}


async def test_a_packed_view_is_warped_in_the_page_until_another_mode_is_chosen(tmp_path: Path) -> None:
    async with running_service(tmp_path, "--no-speech", view=(320, 240)) as (url, _):
        seen = await asyncio.to_thread(visit_packed, url, tmp_path)
    assert seen["size"] == [320, 240] and not seen["errors"]
    stage = cv2.imread(str(tmp_path / "packed.png"))[100:600, 200:800]
    assert stage.std() > 20


def visit_worn(url: str, folder: Path) -> dict:
    film = film_body(2, (320, 240), 10.0, seconds=1.0)
    rig = folder / "rig.json"
    rig.write_text(json.dumps(film.rig.to_json()))
    mic = write_wav(folder / "mic.wav", np.zeros(48_000, np.float32))
    with chromium_call(film, mic, *DRAWING, scripts=[DOUBLE]) as call:
        call.join(url, "worn", rig, 2, "es")
        call.page.click("[data-call=settings]")
        call.page.select_option("[data-set=mode]", "headset")
        call.page.click("#enter-headset")
        call.until("window.streamsvc.stats.videoSize[1] === 408")
        pictures = []
        for x in (-0.12, 0.12):
            wear(call.page, (x, 0.0, 0.0), 0)
            drawn = call.stats()["headset"]["drawn"]
            call.until(f"window.streamsvc.stats.headset.drawn > {drawn + 30}")
            pictures.append(np.concatenate(eyes_of(call.page), axis=1))
        call.page.screenshot(path=str(folder / "worn.png"))
        call.page.evaluate("window.__headset.sessions.at(-1).end()")
        call.until("window.streamsvc.stats.videoSize[1] === 240")
        return {"pictures": pictures, "errors": call.errors}


async def test_the_real_service_shows_a_person_to_both_eyes(tmp_path: Path) -> None:
    async with running_service(tmp_path, "--no-speech", view=(320, 240)) as (url, _):
        found = await asyncio.to_thread(visit_worn, url, tmp_path)
    assert not found["errors"]
    sheet = np.concatenate(found["pictures"]).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "eyes.png"), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    for picture in found["pictures"]:
        left, right = picture[:, :320], picture[:, 320:]
        shown = (left.max(2) > 0) & (right.max(2) > 0)
        assert shown.mean() > 0.02 and left[shown].std() > 20
        assert np.abs(left - right)[shown].mean() > 4, "each eye has a view of its own"
    assert np.abs(found["pictures"][0] - found["pictures"][1]).mean() > 1, "who moves sees another view"


async def test_chromium_sees_the_view_from_its_pointers_eye_and_reads_captions(tmp_path: Path) -> None:
    async with running_service(tmp_path, view=(320, 240)) as (url, _):
        seen = await asyncio.to_thread(visit, url, tmp_path)
    left, right = seen["pictures"]
    assert left.shape == (240, 320, 3) and left.std() > 20
    # The eye moved: the same person, from elsewhere.
    assert np.abs(left.astype(float) - right).mean() > 12
    assert seen["stats"]["framesShown"] > 20 and not seen["errors"]
    assert seen["stats"]["captions"] and all(c["text"].strip() for c in seen["stats"]["captions"])
    screenshot = cv2.imread(str(tmp_path / "page.png"))
    assert screenshot.shape == (800, 1280, 3)
    records = list(read_ledger(tmp_path / "ledger.jsonl"))
    assert any(r.kind == "view" and r.outcome == "shown" and r.cameras == 2 for r in records)
    assert any(r.kind == "speech" and r.text for r in records)
    capture = read_ledger(tmp_path / "capture.jsonl")
    saved = list(capture)
    assert {r.kind for r in saved} == {"view", "speech"} and capture.network
    of_service = {(r.kind, r.capture_ns, r.text): r for r in records}
    for r in saved:
        own = of_service[r.kind, r.capture_ns, r.text]
        assert r == msgspec.structs.replace(own, stream=r.stream, id=r.id)


KEEP = """
window.__sockets = []; window.__calls = []; window.__joined = []; window.__states = [];
for (const [name, kept] of [["WebSocket", "__sockets"], ["RTCPeerConnection", "__calls"]]) {
  window[name] = class extends window[name] {
    constructor(...args) {
      super(...args);
      window[kept].push(this);
      if (kept === "__sockets")
        this.addEventListener("message", ({ data }) => {
          const message = JSON.parse(data);
          if (message.type === "joined") window.__joined.push({ session: message.session, resumed: message.resumed });
        });
    }
  };
}
setInterval(() => {
  const now = window.streamsvc?.state;
  if (now !== window.__states.at(-1)) window.__states.push(now);
}, 5);
"""


def visit_broken(url: str, folder: Path) -> dict:
    film = film_body(2, (320, 240), 10.0, seconds=1.0)
    rig = folder / "rig.json"
    rig.write_text(json.dumps(film.rig.to_json()))
    mic = write_wav(folder / "mic.wav", np.zeros(48_000, np.float32))
    with chromium_call(film, mic) as call:
        call.page.add_init_script(KEEP)
        call.join(url, "broken", rig, 2, "es")

        def plays() -> None:
            frames = call.stats()["framesShown"]
            call.until(f"window.streamsvc.stats.framesShown > {frames + 5}")

        plays()
        call.page.evaluate("window.__sockets.at(-1).close(4001)")
        call.until("window.__joined.length === 2")
        plays()
        unseen = call.page.evaluate("[window.__calls.length, window.__states]")
        # A connection that the page closes itself tells it nothing: what remains is silence.
        call.page.evaluate("window.__calls.at(-1).close()")
        call.until("window.__states.includes('reconnecting')")
        call.until("window.streamsvc.state === 'in-call'")
        plays()
        return {
            "unseen": unseen,
            "calls": call.page.evaluate("window.__calls.length"),
            "joined": call.page.evaluate("window.__joined"),
            "errors": call.errors,
        }


async def test_a_page_whose_connections_break_goes_on_with_its_session(tmp_path: Path) -> None:
    async with running_service(tmp_path, "--no-speech", view=(320, 240)) as (url, _):
        seen = await asyncio.to_thread(visit_broken, url, tmp_path)
    calls, states = seen["unseen"]
    assert calls == 1 and "reconnecting" not in states
    assert seen["calls"] == 2 and not seen["errors"]
    assert [j["resumed"] for j in seen["joined"]] == [False, True]
    assert len({j["session"] for j in seen["joined"]}) == 1


ASTRAY = """
window.__astray = false;
window.WebSocket = class extends window.WebSocket {
  constructor(url) {
    if (window.__astray) {
      const none = { close() {} };
      setTimeout(() => none.onclose({ reason: "" }));
      return none;
    }
    super(url);
  }
};
"""


def visit_and_leave(url: str, folder: Path) -> dict:
    film = film_body(1, (320, 240), 10.0, seconds=1.0)
    mic = write_wav(folder / "mic.wav", np.zeros(48_000, np.float32))
    with chromium_call(film, mic) as call:
        for script in (KEEP, ASTRAY):
            call.page.add_init_script(script)
        call.page.goto(f"{url}/room/left?viewer&name=Ana")
        call.page.click("#form [type=submit]")
        call.until("window.streamsvc.state === 'in-call'")
        for what in ("camera", "mute"):
            call.page.click(f"[data-call={what}]")
            call.until(f"!/Add/.test(document.querySelector('[data-call={what}]').innerText)")
        call.until("window.__calls[2]?.connectionState === 'connected'")
        offers = call.page.evaluate("[window.__calls.length, window.__joined.length]")
        call.page.evaluate("""() => {
          window.__astray = true;
          window.__sockets.at(-1).close(4001);
          window.__calls.at(-1).close();
        }""")
        call.until("window.streamsvc.state === 'reconnecting'")
        call.page.click("[data-call=leave]")
        call.until("document.querySelector('#form').checkVisibility()")
        call.page.evaluate("window.__astray = false")
        call.page.click("#form [type=submit]")
        call.until("window.streamsvc.state === 'in-call' || !document.querySelector('#problem').hidden")
        return {
            "offers": offers,
            "state": call.page.evaluate("window.streamsvc.state"),
            "problem": call.page.evaluate("document.querySelector('#problem:not([hidden])')?.innerText"),
            "joined": call.page.evaluate("window.__joined.map((j) => j.resumed)"),
            "errors": call.errors,
        }


async def test_who_adds_devices_is_seen_and_who_leaves_a_broken_call_joins_again_at_once(tmp_path: Path) -> None:
    async with running_service(tmp_path, "--no-speech", view=(320, 240)) as (url, _):
        seen = await asyncio.to_thread(visit_and_leave, url, tmp_path)
    assert seen["offers"] == [3, 1], "each device is offered in the call that there is"
    assert (seen["state"], seen["problem"], seen["errors"]) == ("in-call", None, [])
    assert seen["joined"] == [False, True, False], "the old call is ended first"


async def test_the_probe_reads_the_card_on_the_page_and_knows_where_the_time_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = browser._find_card

    def found_in_another_rung(call: ChromiumCall) -> browser.Found:
        found = find(call)
        return replace(found, reading=replace(found.reading, corners=found.reading.corners + np.float32([-22, 11])))

    # The first picture may be of one camera, where the card is elsewhere than in all that follow.
    monkeypatch.setattr(browser, "_find_card", found_in_another_rung)
    async with running_service(tmp_path, "--no-speech", view=(320, 240)) as (url, _):
        options = ProbeOptions(
            url=url, out=tmp_path, seconds=8, warm_up_s=2, fps=10, size=(320, 240), budget_ms=2000, browser=True
        )
        found = await run_probe(options, lambda line: None)
    view = found.figures["view"]
    assert view["due"] >= 15 and view["fps"] > 2 and view["latency_p50_ms"] > 5
    assert view["strange"] == 0 and view["unreadable"] <= 0.05 * view["due"]
    assert {"receive", "disparity", "blend"} <= found.figures["stages"].keys()
    assert found.seen is not None and (tmp_path / "page.png").exists()
    assert not [n for n in found.figures["notices"] if n.startswith("console")]
