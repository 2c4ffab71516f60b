"""What lies behind the meter: charts of what the service tells, that cost nothing closed, can be held and be saved."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streamsvc.ledger import read_ledger
from streamsvc.ledger.report import write_report

from . import fake_frames as fake
from .conftest import open_visit

# The pixels of a canvas that have a colour of the page's style, as [x, y] in CSS pixels.
PIXELS = """([canvas, name]) => {
  const c = document.querySelector(`[data-budget=${canvas}]`), scale = c.width / c.clientWidth;
  const probe = document.createElement('canvas').getContext('2d');
  probe.fillStyle = getComputedStyle(c).getPropertyValue(`--${name}`);
  probe.fillRect(0, 0, 1, 1);
  const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
  const { data, width } = c.getContext('2d').getImageData(0, 0, c.width, c.height), found = [];
  for (let i = 0; i < data.length; i += 4)
    if (Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b) < 12 && data[i + 3] > 200)
      found.push([((i / 4) % width) / scale, Math.floor(i / 4 / width) / scale]);
  return found;
}"""
PICTURE = "(name) => document.querySelector(`[data-budget=${name}]`).toDataURL()"
STAGES = ("s0", "s1", "s2", "s3", "travel")
"""The colours of receive, convert, disparity and blend, and of the way to the screen."""
CANVASES = ("latency", "waterfall", "rungs", "goodput", "speech", "trip", "bitrates")


@pytest.fixture(scope="module")
def lasting_call(chromium, service):
    """Someone in a call with a camera."""
    v = open_visit(chromium)
    v.join("budget", url=service.url, cameras=1)
    v.in_call()
    v.until("window.streamsvc.stats.live !== null && window.streamsvc.stats.clock !== null")
    yield v
    v.check()
    v.context.close()


@pytest.fixture
def caller(lasting_call):
    """The call that most tests share, its panel closed."""
    for panel in lasting_call.page.locator("[data-close]:visible").all():
        panel.click()
    lasting_call.page.set_viewport_size({"width": 1280, "height": 800})
    return lasting_call


@pytest.fixture
def charts(caller):
    """The same call, its charts open and filled."""
    caller.page.click("#meter")
    caller.until("window.streamsvc.stats.budget.frames >= 40")
    return caller


def says(visitor, name: str) -> str:
    return visitor.page.locator(f"[data-budget={name}]").inner_text()


def follows(visitor) -> list[dict]:
    return [x for x in visitor.sent("ledger") if x["type"] == "follow"]


def test_closed_charts_cost_nothing(visit, service):
    v = visit()
    v.join("closed", url=service.url, viewer=True)
    v.page.add_init_script("window.__stats = 0")
    v.in_call()
    v.page.evaluate(
        """() => { window.__stats = 0; const get = RTCPeerConnection.prototype.getStats;
        RTCPeerConnection.prototype.getStats = function (...a) { window.__stats += 1; return get.apply(this, a); }; }"""
    )
    v.until("window.streamsvc.stats.framesShown > 20")
    assert v.stats()["budget"] == {"open": False, "frozen": False, "drawn": 0, "frames": 0}
    assert follows(v) == [] and v.page.evaluate("window.__stats") == 0
    v.page.click("#meter")
    v.until("window.streamsvc.stats.budget.frames > 0 && window.__stats > 0")
    v.page.click("#meter")
    assert [(f["frames"], f["speech"]) for f in follows(v)] == [(True, True), (False, False)]
    drawn, asked, frames = v.page.evaluate(
        "[window.streamsvc.stats.budget.drawn, window.__stats, window.streamsvc.stats.framesShown]"
    )
    v.until(f"window.streamsvc.stats.framesShown > {frames} + 20")
    assert v.page.evaluate("[window.streamsvc.stats.budget.drawn, window.__stats]") == [drawn, asked]


def test_the_meter_opens_the_charts_by_keyboard_and_escape_closes_them(caller):
    page = caller.page
    meter = page.locator("#meter")
    assert meter.get_attribute("aria-expanded") == "false"
    meter.focus()
    page.keyboard.press("Enter")
    assert meter.get_attribute("aria-expanded") == "true"
    assert page.locator(f"#{meter.get_attribute('aria-controls')}").is_visible()
    assert page.evaluate("document.activeElement.closest('#budget-panel') !== null"), "the focus is in it"
    page.keyboard.press("Escape")
    assert page.locator("#budget-panel").is_hidden() and meter.get_attribute("aria-expanded") == "false"
    assert page.evaluate("document.activeElement.id") == "meter"
    meter.click()
    page.click("[data-call=settings]")
    assert page.locator("#budget-panel").is_hidden(), "one panel at a time"
    assert meter.get_attribute("aria-expanded") == "false"


def test_the_charts_stand_beside_the_view_and_on_a_phone_over_it(charts):
    page = charts.page
    stage, panel = (page.locator(s).bounding_box() for s in ("#stage", "#budget-panel"))
    assert stage["x"] + stage["width"] <= panel["x"] + 1
    page.set_viewport_size({"width": 360, "height": 740})
    stage, panel = (page.locator(s).bounding_box() for s in ("#stage", "#budget-panel"))
    assert panel == stage
    assert page.evaluate(
        "document.querySelector('.budget').scrollWidth <= document.querySelector('.budget').clientWidth"
    )
    page.click("#budget-panel [data-close]")
    assert page.locator("#budget-panel").is_hidden()


def test_no_button_of_a_heading_takes_two_lines(charts):
    page = charts.page
    for width in (761, 768, 900, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        buttons = page.locator("#budget-panel header button").all()
        heights = [b.bounding_box()["height"] for b in buttons]
        assert max(heights) == pytest.approx(min(heights), abs=1), f"at {width} px"
        fits = "document.querySelector('#budget-panel header')"
        assert page.evaluate(f"{fits}.scrollWidth <= {fits}.clientWidth"), f"at {width} px"


def test_every_chart_has_a_sentence_with_the_figures_of_what_was_told(charts):
    due = charts.stats()["budget"]["frames"]
    charts.page.click("[data-budget=freeze]")
    due = charts.stats()["budget"]["frames"]
    latency = says(charts, "latencySays")
    assert latency.startswith("Half within 150 ms, 95 % within 450 ms, the slowest 450 ms; the budget is 400 ms.")
    late, shown = (int(x) for x in re.search(r"(\d+) of (\d+) pictures shown", latency).groups())
    assert shown == pytest.approx(0.8 * due, abs=2) and late == pytest.approx(0.1 * due, abs=1)
    assert says(charts, "waterfallSays") == (
        "The last picture took 150 ms, 250 ms before its deadline. "
        "Longest: blend 50 ms, disparity 40 ms, receive 20 ms; waiting 10 ms, to the screen 20 ms."
    )
    assert re.fullmatch(r"Now half \(28\.3 dB\); \d+ changes in the last minute\.", says(charts, "rungsSay"))
    assert says(charts, "goodputSays").startswith(
        "Now 93 % of the pictures in time; in the last minute 93 % on average"
    )
    good, of = (int(x) for x in re.search(r"^(\d+) of (\d+) pictures due", says(charts, "missesSay")).groups())
    assert of == due and good == pytest.approx(fake.GOODPUT * due, abs=2)
    assert re.match(
        r"Words came 1\.5 s after they were spoken \(half of \d+ pieces?\), at most 1\.5 s", says(charts, "speechSays")
    )
    reasons = charts.page.locator("[data-budget=misses] li").all_inner_texts()
    counts = {text: int(n) for n, text in (reason.split(" ", 1) for reason in reasons)}
    assert set(counts) == {
        "shown after the deadline",
        "a newer picture came first",
        "left out evenly: no time for all of them even at the lowest detail",
    }
    assert all(n == pytest.approx(0.1 * due, abs=1) for n in counts.values()) and sum(counts.values()) == due - good
    assert charts.page.locator("[data-budget=legend] li").all_inner_texts() == [
        "receive 20 ms", "convert 10 ms", "disparity 40 ms", "blend 50 ms", "waiting 10 ms", "to the screen 20 ms",
    ]  # fmt: skip
    for name in CANVASES:
        canvas = charts.page.locator(f"canvas[data-budget={name}]")
        told = charts.page.locator(f"#{canvas.get_attribute('aria-labelledby')}")
        assert canvas.get_attribute("role") == "img" and len(told.inner_text()) > 20


def test_the_network_is_measured_while_they_are_open(charts):
    told = "document.querySelector('[data-budget=bitratesSay]').textContent"
    charts.until(f"/^Now (?!0.0)[0-9.]+ Mb.s in, .* lost.*; (?!0.0)[0-9.]+ Mb.s out, .* lost/.test({told})")
    assert re.match(r"Round trip \d+ ms now", says(charts, "tripSays"))
    for line in (["bitrates", "out"], ["trip", "shown"]):
        charts.until(f"({PIXELS})({line}).length > 0", f"{line} is drawn")


def test_the_latency_chart_has_its_budget_with_late_pictures_above_and_the_others_under_it(charts):
    charts.page.click("[data-budget=freeze]")
    budget_y = max(set(ys := [y for _, y in charts.page.evaluate(PIXELS, ["latency", "drop"])]), key=ys.count)
    late = [y for _, y in charts.page.evaluate(PIXELS, ["latency", "late"])]
    shown = [y for _, y in charts.page.evaluate(PIXELS, ["latency", "shown"])]
    assert late and shown
    assert max(late) < budget_y + 1 < min(shown), "up is late"
    foot = charts.page.locator("canvas[data-budget=latency]").bounding_box()["height"]
    assert any(y > budget_y + (foot - budget_y) / 2 for y in ys), "marks at the foot for what was not shown"


def test_the_waterfall_has_every_stage_in_its_order_and_the_deadline(charts):
    charts.page.click("[data-budget=freeze]")
    starts = [min(x for x, _ in charts.page.evaluate(PIXELS, ["waterfall", name])) for name in STAGES]
    assert starts == sorted(set(starts)), "as the stages ran"
    columns = [x for x, _ in charts.page.evaluate(PIXELS, ["waterfall", "drop"])]
    deadline = max(set(columns), key=columns.count)
    ends = [x for x, _ in charts.page.evaluate(PIXELS, ["waterfall", "travel"])]
    assert min(ends) < deadline < max(ends), "some came in time and some late"


def test_frozen_charts_stay_as_they_are_until_they_go_on(charts):
    page = charts.page
    freeze = page.locator("[data-budget=freeze]")
    freeze.click()
    assert freeze.get_attribute("aria-pressed") == "true"
    assert "Held at" in says(charts, "held")
    before = {name: page.evaluate(PICTURE, name) for name in CANVASES}
    text, drawn = page.locator(".budget").inner_text(), charts.stats()["budget"]["drawn"]
    frames = charts.stats()["framesShown"]
    charts.until(f"window.streamsvc.stats.framesShown > {frames} + 20")
    assert charts.stats()["budget"]["drawn"] == drawn
    assert {name: page.evaluate(PICTURE, name) for name in CANVASES} == before
    assert page.locator(".budget").inner_text() == text
    held = charts.stats()["budget"]["frames"]
    freeze.click()
    assert page.locator("[data-budget=held]").is_hidden()
    charts.until(f"window.streamsvc.stats.budget.frames > {held} + 10", "what was told meanwhile is there")
    assert page.evaluate(PICTURE, "latency") != before["latency"]


def test_charts_have_the_colours_that_the_reader_wants(charts):
    charts.page.click("[data-budget=freeze]")
    for scheme, dark in (("dark", True), ("light", False)):
        charts.page.emulate_media(color_scheme=scheme)
        card = charts.page.evaluate("getComputedStyle(document.getElementById('budget-panel')).backgroundColor")
        assert (sum(int(x) for x in re.findall(r"\d+", card)[:3]) < 150) == dark
        charts.until(f"({PIXELS})(['latency', 'shown']).length > 0", f"what is held is drawn again, {scheme}")


def test_a_capture_is_a_ledger_whose_report_says_what_was_shown(charts, tmp_path: Path):
    page = charts.page
    charts.until("document.querySelector('[data-budget=bitratesSay]').textContent.startsWith('Now')")
    page.click("[data-budget=freeze]")
    due, latency = charts.stats()["budget"]["frames"], says(charts, "latencySays")
    with page.expect_download() as download:
        page.click("[data-budget=save]")
    assert re.fullmatch(r"capture-\d{4}-\d\d-\d\dT\d{6}Z\.jsonl", download.value.suggested_filename)
    capture = tmp_path / "capture.jsonl"
    download.value.save_as(capture)
    summary = write_report(capture, tmp_path / "capture.html", title="A capture")
    view, speech = summary.view, summary.speech
    late, shown = (int(x) for x in re.search(r"(\d+) of (\d+) pictures shown", latency).groups())
    assert (view.due, view.shown + view.late, view.late) == (due, shown, late)
    assert (view.latency_p50_ms, view.latency_max_ms, view.budget_ms) == (fake.SHOWN_MS, fake.LATE_MS, 400)
    assert view.goodput == pytest.approx(fake.GOODPUT, abs=0.05)
    assert view.misses == pytest.approx({"late": late, "superseded": late, "thinned": late}, abs=1)
    assert set(view.rungs) == {"full", "half"}
    assert speech.lag_p50_ms == fake.LAG_MS and speech.words == 2 * speech.commits > 0
    reader = read_ledger(capture)
    records = [r for r in reader if r.kind == "view"]
    joined = page.evaluate("window.__heard.find((m) => m.type === 'joined').session")
    assert {r.session for r in records} == {joined}
    good = next(r for r in records if r.rung == "full")
    assert good.quality == 31.5 and good.predicted_ns == 60_000_000 and good.clock_error_ns == 1_000_000
    assert [s.name for s in good.stages] == ["receive", "convert", "disparity", "blend"]
    assert good.stages[3].end_ns - good.capture_ns == 130_000_000
    assert any(n.in_bps > 1000 and n.out_bps > 1000 for n in reader.network)
    last = max(r.capture_ns for r in records)
    assert all(abs(n.at_ns - last) < 60_000_000_000 for n in reader.network), "on the same clock"
    text = (tmp_path / "capture.html").read_text("utf-8")
    assert "Network" in text and "stages of the median frame" in text and "good evening" in text


def test_charts_go_on_in_a_session_that_the_page_had_to_begin_anew(visit, service):
    v = visit()
    v.context.add_init_script(
        """window.__sockets = []; window.WebSocket = class extends WebSocket {
          constructor(...a) { super(...a); window.__sockets.push(this); } };"""
    )
    v.join("anew", url=service.url, viewer=True)
    v.in_call()
    v.page.click("#meter")
    v.until("window.streamsvc.stats.budget.frames > 0")
    v.page.evaluate("window.__sockets.at(-1).close()")
    v.until("window.streamsvc.state === 'reconnecting'")
    assert v.page.locator("[data-budget=save]").is_enabled(), "what led to it can be saved"
    v.in_call()
    v.until("window.__sent.ledger.filter((m) => m.type === 'follow').length === 2", "it is asked again")
    held = v.stats()["budget"]["frames"]
    v.until(f"window.streamsvc.stats.budget.frames > {held}")
    v.page.click("[data-call=leave]")
    v.page.locator("#form").wait_for()
    assert v.stats()["budget"]["open"] is False
