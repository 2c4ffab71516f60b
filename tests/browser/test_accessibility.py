"""Nothing on the page that axe-core, which checks the W3C's accessibility guidelines, calls serious or critical."""

from __future__ import annotations

from functools import cache

import pytest

from streamsvc.cache import cache_dir

SCAN = "axe.run(document, { resultTypes: ['violations'] }).then((found) => found.violations)"


@cache
def axe() -> str:
    file = cache_dir() / "axe" / "axe.min.js"
    assert file.is_file(), "fetch axe-core first: python models/assets.py --only axe"
    return file.read_text("utf-8")


def findings(visitor) -> list[str]:
    """Return what is serious or critical on the page as it stands, in words."""
    if not visitor.page.evaluate("'axe' in window"):
        visitor.page.evaluate(axe())
    return [
        f"{rule['help']}: {node['html'][:200]} {node['failureSummary']}"
        for rule in visitor.page.evaluate(SCAN)
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


@pytest.fixture(params=["light", "dark"])
def scheme(request):
    return request.param


@pytest.fixture
def visitor(visit, scheme):
    """A page so tall that no panel hides a part of itself: what can't be seen has no contrast."""
    return visit(color_scheme=scheme, viewport={"width": 1280, "height": 2600})


def test_a_page_with_faults_is_found_out(visitor, service):
    visitor.page.goto(service.url)
    assert findings(visitor) == []
    visitor.page.evaluate(
        """() => { const [bad, faint] = ["button", "p"].map((tag) => document.createElement(tag));
        Object.assign(faint, { textContent: "hard to read", style: "color: #ddd; background: #fff" });
        document.querySelector("#form").append(bad, faint); }"""
    )
    found = " ".join(findings(visitor))
    assert "Buttons must have discernible text" in found and "contrast" in found


def test_joining(visitor, service):
    page = visitor.page
    page.goto(service.url)
    visitor.choose(2)
    page.click("summary:has-text('Several cameras')")
    assert findings(visitor) == []
    page.check("[name=viewer]")
    assert findings(visitor) == []


def test_what_stands_in_the_way(visit, service):
    visitor = visit(devices=False)
    visitor.page.goto(service.url)
    visitor.page.click("[data-ui=find]")
    visitor.problem()
    assert findings(visitor) == []


def test_setting_up_a_rig(visitor, service):
    page = visitor.page
    page.goto(service.url)
    visitor.choose(1)
    page.click("summary:has-text('Several cameras')")
    page.click("[data-ui=setup]")
    page.locator("#setup .verdicts li").first.wait_for()
    assert findings(visitor) == []
    for step, seen in (("board", "[data-setup=square]"), ("show", "[data-setup=now]")):
        page.click(f"[data-step={step}]")
        page.locator(f"#setup {seen}").wait_for()
        assert findings(visitor) == []


def test_a_call_and_each_of_its_panels(visitor, scheme, service):
    page = visitor.page
    visitor.join(f"accessible-{scheme}", url=service.url, cameras=1)
    visitor.in_call()
    visitor.until("window.streamsvc.stats.captions.length === 4 && window.streamsvc.stats.live !== null")
    assert findings(visitor) == []
    page.click("#meter")
    visitor.until("window.streamsvc.stats.budget.frames > 10")
    page.click("[data-budget=freeze]")
    assert findings(visitor) == []
    for panel in ("settings", "transcript"):
        page.click(f"[data-call={panel}]")
        assert findings(visitor) == []
    page.click("#transcript-panel [data-close]")
    page.set_viewport_size({"width": 360, "height": 740})
    assert findings(visitor) == [], "on a phone, where buttons are pictures"
