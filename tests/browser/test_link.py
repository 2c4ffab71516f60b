"""The test of a connection on the join screen: pictures that carry numbers, there and back, and one line about them."""

from __future__ import annotations

import re

import pytest

from .conftest import Service

LINK = {
    "size": [640, 480],
    "got": [640, 480],
    "fps": 30,
    "seconds": 4,
    "drawn": 120,
    "rtt": 20,
    "outLost": 0,
    "inLost": 0,
}
MARKS = """async (numbers) => {
  const { mark, readMark } = await import("/linkmark.js");
  const context = Object.assign(document.createElement("canvas"), { width: 320, height: 240 }).getContext("2d");
  const scratch = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const video = document.createElement("video");
  Object.assign(video, { muted: true, srcObject: context.canvas.captureStream(0) });
  const [track] = video.srcObject.getVideoTracks();
  const read = [];
  for (const n of numbers) {
    context.fillStyle = "#777";
    context.fillRect(0, 0, 320, 240);
    if (n !== null) mark(context, n);
    const shown = new Promise((resolve) => video.requestVideoFrameCallback(resolve));
    track.requestFrame();
    video.play();
    await shown;
    read.push(readMark(scratch, video));
  }
  return read;
}"""


def verdict(run, **link):
    return run("linkverdict", "return m.linkVerdict(argument);", {**LINK, "trips": [140] * 120, **link})


def test_a_number_is_read_back_and_none_where_there_is_none(visit, service):
    v = visit()
    v.page.goto(service.url)
    assert v.page.evaluate(MARKS, [0, 1, 1365, 4095, 4096 + 7, None]) == [0, 1, 1365, 4095, 7, None]


def test_a_good_connection_is_told_in_one_line(run):
    found = verdict(run)
    assert found == {"grade": "good", "text": "Good for 640×480 at 30 a second: 140 ms from you to a picture."}


@pytest.mark.parametrize(
    ("link", "grade", "words"),
    [
        ({"trips": []}, "poor", "No picture came back"),
        ({"trips": [140] * 80}, "fair", "Usable, 640×480 at 20 a second: 140 ms .* smaller camera size"),
        ({"trips": [140] * 80, "outLost": 0.05}, "fair", "loses 5 % .* cable"),
        ({"trips": [140] * 80, "drawn": 80}, "fair", "This device can’t keep up"),
        ({"trips": [330] * 120, "rtt": 200}, "fair", "330 ms .* far away, 200 ms there and back"),
        ({"trips": [300] * 120}, "fair", "busy, or the network is slow"),
        ({"trips": [140] * 120, "got": [320, 240]}, "fair", "Usable, 320×240"),
        ({"trips": [900] * 120}, "poor", "Not good, .* 900 ms"),
        ({"trips": [140] * 20}, "poor", "Not good, 640×480 at 5 a second"),
    ],
)
def test_what_is_in_the_way_is_told_with_what_to_do(run, link, grade, words):
    found = verdict(run, **link)
    assert found["grade"] == grade and re.search(words, found["text"]), found


def test_pictures_go_to_the_service_and_back_and_nobody_stays_there(visit, service):
    v = visit()
    v.page.goto(service.url)
    v.choose(1)
    v.page.click("#test")
    assert "six seconds" in v.page.locator("#test-told").inner_text()
    v.until("document.querySelector('#test-told').dataset.grade", limit_s=60)
    told = v.page.locator("#test-told").inner_text()
    assert re.search(r"640×480 at \d+ a second: \d+ ms from you to a picture", told), told
    assert v.page.locator("#test").inner_text() == "Test the connection"
    join, *rest = v.page.evaluate("window.__said")
    assert join["mirror"] and join["room"].startswith("test-") and rest[-1]["type"] == "leave"
    assert any(m["type"] == "shown" for m in v.sent("ledger"))
    assert v.page.evaluate("window.streamsvc.state") == "idle"


def test_without_a_camera_a_drawn_picture_goes_and_who_joins_ends_the_test(visit, service):
    v = visit(devices=False)
    v.page.goto(f"{service.url}/room/drawn?viewer&name=Ana")
    v.page.click("#test")
    v.until("window.__heard.some((m) => m.type === 'answer')")
    v.page.click("#form [type=submit]")
    v.in_call()
    joined = [m["mirror"] for m in v.page.evaluate("window.__said") if m["type"] == "join"]
    assert joined == [True, False]
    assert not v.page.locator("#test-told").text_content()


def test_it_goes_where_a_stream_gives_the_pictures_and_only_of_a_canvas_in_use_and_where_http_is_plain(visit, service):
    v = visit(devices=False)
    v.context.add_init_script(
        """const [canvas, track] = [HTMLCanvasElement.prototype, CanvasCaptureMediaStreamTrack.prototype];
        const { getContext, captureStream } = canvas, { requestFrame } = track, used = new WeakSet();
        delete track.requestFrame;
        MediaStream.prototype.requestFrame = function () { requestFrame.call(this.getVideoTracks()[0]); };
        canvas.getContext = function (...said) { used.add(this); return getContext.apply(this, said); };
        canvas.captureStream = function (...said) {
          if (!used.has(this)) throw new DOMException("", "NS_ERROR_NOT_INITIALIZED");
          return captureStream.apply(this, said);
        };
        delete Crypto.prototype.randomUUID;"""
    )
    v.page.goto(f"{service.url}/room/old?viewer&name=Ana")
    v.page.click("#test")
    v.until("(window.__sent.ledger ?? []).some((m) => m.type === 'shown')", "pictures come back")
    v.page.click("#test")
    v.until("document.querySelector('#test').textContent === 'Test the connection'")
    assert v.page.evaluate("window.__said.at(-1).type") == "leave"


def test_what_stands_in_the_way_is_told(visit, guarded: Service):
    v = visit()
    v.page.goto(f"{guarded.url}/room/lab")
    v.page.click("#test")
    v.until("document.querySelector('#test-told').dataset.grade === 'poor'")
    assert "asks for an access token" in v.page.locator("#test-told").inner_text()


@pytest.mark.parametrize(
    ("refusals", "rooms", "words"),
    [
        (["bad-token", "room-full"], 2, "Somebody is in this room: just join"),
        (["bad-token", "wrong-kind"], 2, "Somebody is in this room: just join"),
        (["bad-token", "bad-token"], 2, "asks for an access token"),
        (["service-full"], 1, "no room for another call"),
    ],
)
def test_a_token_that_opens_one_room_is_tested_there_only_where_no_other_opens(visit, service, refusals, rooms, words):
    v = visit(devices=False)
    v.page.goto(f"{service.url}/room/ours?viewer#token=narrow")
    v.page.evaluate(
        """async (codes) => {
          const [{ LinkTest }, { Problem }] = await Promise.all([import("/linktest.js"), import("/words.js")]);
          window.__rooms = [];
          LinkTest.prototype.run = async ({ room, token }) => {
            window.__rooms.push(`${room} ${token}`);
            throw new Problem(codes.shift());
          };
        }""",
        refusals,
    )
    v.page.click("#test")
    v.until("document.querySelector('#test-told').dataset.grade")
    assert words in v.page.locator("#test-told").inner_text()
    own, *more = v.page.evaluate("window.__rooms")
    assert own.startswith("test-") and own.endswith(" narrow")
    assert more == ["ours narrow"] * (rooms - 1)
