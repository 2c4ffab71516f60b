"""The join screen: devices, rooms, tokens; every refusal is told in plain words with a next step."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

WEB = Path(__file__).resolve().parents[2] / "web"

RIG = {
    "version": 1,
    "cameras": [
        {
            "name": name,
            "width": 320,
            "height": 240,
            "K": [[300, 0, 160], [0, 300, 120], [0, 0, 1]],
            "dist": [0, 0, 0, 0, 0],
            "R": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
            "t": [x, 0, 0],
        }
        for name, x in (("left", 0.1), ("right", -0.1))
    ],
    "pairs": [["left", "right"]],
}


def test_the_page_offers_the_languages_that_the_interpreter_knows():
    from streamsvc.speech.languages import LANGUAGES

    offered = re.findall(r'\["(\w+)", "(\w+)"\]', (WEB / "languages.js").read_text("utf-8"))
    assert dict(offered) == LANGUAGES


def said(v, kind):
    """Return the first message of a kind that the page sent."""
    return next(m for m in v.page.evaluate("window.__said") if m["type"] == kind)


def test_two_cameras_and_a_microphone_join_and_the_view_comes(visit, service):
    v = visit()
    v.join("two", url=service.url)
    v.in_call()
    offer = said(v, "offer")
    assert [c["name"] for c in offer["cameras"]] == ["cam0", "cam1"]
    assert len({c["mid"] for c in offer["cameras"]}) == 2
    assert 1 <= said(v, "join")["fps"] <= 60  # what they deliver, which is what there has to be room for
    v.until("window.streamsvc.stats.live?.cameras === 2", "both cameras arrive")


def test_a_rig_names_the_cameras_in_order_and_goes_with_join(visit, service):
    v = visit()
    v.page.goto(f"{service.url}/?room=rigged")
    v.page.fill("[name=name]", "Ana")
    v.choose(1)
    rig = {"name": "rig.json", "mimeType": "application/json", "buffer": json.dumps(RIG).encode()}
    v.page.set_input_files("[data-ui=rig]", rig)
    v.until("document.querySelectorAll('.tile:not(.unused)').length === 2", "as many cameras open as the rig has")
    assert v.page.locator(".tile .badge").all_inner_texts() == ["left", "right"]
    v.page.click("#form [type=submit]")
    v.in_call()
    assert said(v, "join")["rig"] == RIG
    assert [c["name"] for c in said(v, "offer")["cameras"]] == ["left", "right"]


def test_cameras_that_no_rig_fits_are_told_of_before_joining_with_a_way_to_the_set_up(visit, service):
    v = visit()
    v.page.goto(service.url)
    v.choose(1)
    advice, mend = v.page.locator("[data-ui=advice]"), v.page.locator("[data-ui=mend]")
    assert "as it is" in advice.inner_text() and mend.is_hidden(), "one camera needs no rig"
    v.page.locator(".tile .add").first.click()
    v.until("document.querySelector('[data-ui=advice]').textContent.includes('how your cameras stand')")
    assert mend.is_visible()
    ids = "[...document.querySelectorAll('#devices .tile')].map((t) => t.dataset.device)"
    made = {"rig": RIG, "devices": v.page.evaluate(ids), "name": "set up"}
    v.page.evaluate("(made) => localStorage.setItem('streamsvc.rig', JSON.stringify(made))", made)
    v.page.reload()
    v.until("document.querySelectorAll('.tile:not(.unused)').length === 2")
    v.until("document.querySelector('[data-ui=advice]').textContent.startsWith('2 calibrated cameras')")
    assert mend.is_hidden()
    v.page.locator("[aria-label$=' down']:enabled").click()
    v.until("document.querySelector('[data-ui=advice]').textContent.includes('not in its order')")
    mend.click()
    assert v.page.locator("#setup-title").is_visible()


def test_cameras_change_places(visit, service):
    v = visit()
    v.page.goto(service.url)
    v.choose(2)
    before = v.page.locator(".tile-label").all_inner_texts()
    v.page.click(f"[aria-label='Move {before[0]} down']")
    assert v.page.locator(".tile-label").all_inner_texts() == before[::-1]


def test_cameras_are_ordered_added_and_taken_away_by_keyboard(visit, service):
    v = visit()
    v.page.goto(service.url)
    v.choose(2)
    first, second = v.page.locator(".tile-label").all_inner_texts()
    v.page.locator(f"[aria-label='Move {first} down']").focus()
    named = "document.activeElement.ariaLabel ?? document.activeElement.textContent"
    for key, then in (
        ("Enter", f"Move {first} up"),  # it is the last now
        ("Enter", f"Move {first} down"),
        ("Tab", f"Do not use {first}"),
        ("Enter", f"+ {first}"),
        ("Enter", f"Move {first} up"),
    ):
        v.page.keyboard.press(key)
        v.until(f"({named}) === {then!r}", then)
    assert v.page.locator(".tile-label").all_inner_texts() == [second, first]


def test_a_rig_that_is_none_is_refused_with_the_reason(visit, service):
    v = visit()
    v.page.goto(service.url)
    good = {"name": "good.json", "mimeType": "application/json", "buffer": json.dumps(RIG).encode()}
    v.page.set_input_files("[data-ui=rig]", good)
    v.until("document.querySelector('[data-ui=rigname]').value === 'good.json'")
    for content, why in ((b"{", "is not JSON"), (b'{"version": 2}', "version"), (b'{"version": 1}', "cameras")):
        v.page.set_input_files("[data-ui=rig]", {"name": "rig.json", "mimeType": "application/json", "buffer": content})
        v.until(f"document.querySelector('#problem').innerText.includes({why!r})")
    named = v.page.evaluate("document.querySelector('[data-ui=rigname]').value")
    assert named == "good.json", "the rig of before stays"
    assert json.loads(v.page.evaluate("localStorage.getItem('streamsvc.rig')"))["rig"] == RIG


def test_a_viewer_joins_without_any_device(visit, service):
    v = visit(devices=False)
    v.join("watch", url=service.url, viewer=True)
    v.in_call()
    v.until("window.streamsvc.stats.framesShown > 5")
    assert v.page.locator("[data-call=mute]").inner_text() == "Add microphone"
    assert v.stats()["live"] is None or v.stats()["live"]["cameras"] == 0
    assert said(v, "join")["fps"] == 0


def test_denied_permission_is_told_and_a_viewer_can_still_join(visit, service):
    v = visit(devices=False)
    v.page.goto(f"{service.url}/room/denied")
    v.page.fill("[name=name]", "Ana")
    v.page.click("[data-ui=find]")
    assert "not allowed to use your camera" in v.problem()
    assert "viewer" in v.problem()
    v.page.check("[name=viewer]")
    v.page.click("#form [type=submit]")
    v.in_call()


def test_missing_devices_are_told(visit, service):
    for error, words in (("NotFoundError", "No camera and no microphone found"), ("NotReadableError", "in use")):
        v = visit()
        v.context.add_init_script(
            f"navigator.mediaDevices.getUserMedia = async () => {{ throw new DOMException('', '{error}'); }};"
        )
        v.page.goto(service.url)
        assert words in v.problem()


def test_a_microphone_alone_is_enough(visit, service):
    v = visit()
    v.context.add_init_script(
        """
        const devices = navigator.mediaDevices, get = devices.getUserMedia.bind(devices);
        const list = devices.enumerateDevices.bind(devices);
        devices.getUserMedia = async (wanted) => {
          if (wanted.video) throw new DOMException('', 'NotFoundError');
          return get(wanted);
        };
        devices.enumerateDevices = async () => (await list()).filter((d) => d.kind !== 'videoinput');
        """
    )
    v.page.goto(f"{service.url}/room/voice")
    assert "No camera found" in v.problem()
    v.page.fill("[name=name]", "Ana")
    v.page.click("#form [type=submit]")
    v.in_call()
    assert said(v, "join")["fps"] == 0


def test_a_wrong_token_is_asked_for_again_and_the_right_one_opens(visit, guarded):
    v = visit()
    v.page.goto(f"{guarded.url}/room/guarded")
    assert not v.page.locator("[name=token]").is_visible(), "nobody is asked for a token that may not be needed"
    v.page.fill("[name=name]", "Ana")
    v.page.check("[name=viewer]")
    v.page.click("#form [type=submit]")
    assert "asks for an access token" in v.problem()
    v.page.fill("[name=token]", "wrong")
    v.page.keyboard.press("Enter")
    v.until("document.querySelector('#form [type=submit]').textContent === 'Join'")
    assert "The token is not accepted; ask whoever runs the service for one." in v.problem()
    v.page.fill("[name=token]", "open sesame")
    v.page.keyboard.press("Enter")
    v.in_call()
    assert "access token is not in it" in v.page.locator("#invite").inner_text()


def test_a_name_or_room_of_spaces_only_is_not_sent(visit, service):
    v = visit()
    v.page.goto(f"{service.url}/room/spaces?viewer")
    for field in ("name", "room"):
        v.page.fill(f"[name={field}]", "   ")
        v.page.click("#form [type=submit]")
        assert v.page.evaluate("document.activeElement.name") == field
        v.page.fill(f"[name={field}]", "  Ana  ")
    v.page.click("#form [type=submit]")
    v.in_call()
    assert (said(v, "join")["name"], said(v, "join")["room"]) == ("Ana", "Ana")


# Holds back what the service says until `__go` is called.
HELD = """
window.WebSocket = class extends WebSocket {
  constructor(url) {
    super(url);
    window.__go = () => { this.held?.forEach((e) => this.take(e)); this.held = null; };
  }
  held = [];
  set onmessage(take) {
    this.take = take;
    super.onmessage = (e) => (this.held ? this.held.push(e) : take(e));
  }
};
"""


def test_while_one_joins_nothing_else_can_be_begun_and_a_refusal_brings_the_focus_back(visit, service):
    first = visit()
    first.join("locked", name="Ana", url=service.url, viewer=True)
    first.in_call()
    v = visit()
    v.context.add_init_script(HELD)
    v.page.goto(f"{service.url}/room/locked?viewer&name=Ana")
    v.page.click("#form [type=submit]")
    v.until("window.__said.length === 1")
    locked = "document.querySelector('.columns').inert"
    assert v.page.evaluate(locked)
    v.page.evaluate("window.__go()")
    assert "already has your name" in v.problem()
    assert not v.page.evaluate(locked)
    assert v.page.evaluate("document.activeElement.name") == "name"


def test_a_full_room_and_a_taken_name_are_told(visit, service):
    for name in ("Ana", "Ben"):
        v = visit()
        v.join("full", name=name, url=service.url, viewer=True)
        v.in_call()
    v = visit()
    v.join("full", name="Cleo", url=service.url, viewer=True)
    assert "This room is full" in v.problem()
    assert v.page.evaluate("document.activeElement.name") == "room"
    v.page.fill("[name=name]", "Ana")
    v.page.click("#form [type=submit]")
    v.until("document.querySelector('#problem').innerText.includes('already has your name')")
    assert v.page.evaluate("document.activeElement.name") == "name"


def test_plain_http_off_localhost_says_why_cameras_are_blocked_and_still_lets_one_watch(visit, guarded):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing; tells this machine's own address
        address = probe.getsockname()[0]
    v = visit(devices=False)
    v.forgive = ("Cross-Origin-Opener-Policy",)  # the browser ignores it here, and says so
    v.page.goto(f"http://{address}:{guarded.port}/room/plain#token=open%20sesame")
    told = v.problem()
    assert "plain HTTP" in told
    assert "--tls-cert" in told
    assert f"ssh -L {guarded.port}:localhost:{guarded.port}" in told
    assert f"http://localhost:{guarded.port}/room/plain" in told
    assert v.page.locator("[name=viewer]").is_checked()
    v.page.fill("[name=name]", "Ana")
    v.page.click("#form [type=submit]")
    v.in_call()
    assert v.page.locator("[data-call=mute]").is_hidden()
    v.page.click("[data-call=settings]")
    v.until("document.querySelector('[data-device=blocked]').checkVisibility()")
    assert v.page.locator("[data-add]:visible").count() == 0


def test_the_page_works_where_the_browser_keeps_nothing(visit, service):
    v = visit(devices=False)
    v.context.add_init_script(
        """for (const name of ["localStorage", "sessionStorage"]) {
          Object.defineProperty(window, name, { get() { throw new DOMException("", "SecurityError"); } });
        }"""
    )
    v.page.goto(f"{service.url}/room/kept?viewer&name=Ana#token=any")
    v.page.click("#form [type=submit]")
    v.in_call()


def test_a_browser_without_webrtc_is_told(visit, service):
    v = visit()
    v.context.add_init_script("delete window.RTCPeerConnection;")
    v.page.goto(f"{service.url}/room/old?viewer&name=Ana")
    v.page.click("#form [type=submit]")
    assert "cannot make calls" in v.problem()
