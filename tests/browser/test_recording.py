"""Recording on the page: one asks, the other is asked, both see it while it is on, either stops it."""

from __future__ import annotations

import pytest

MARK = "document.getElementById('recorded').checkVisibility() && document.getElementById('recorded').innerText"
LABEL = "document.querySelector('[data-call=record]').innerText"
OPEN = "document.getElementById('consent').open"


@pytest.fixture
def pair(visit, service, request):
    """Ana and Ben in a room of their own."""
    people = []
    for name in ("Ana", "Ben"):
        v = visit()
        v.join(f"recorded-{request.node.name}"[:60], name=name, url=service.url, viewer=True)
        v.in_call()
        people.append(v)
    ana, ben = people
    ana.until("document.querySelector('.where').innerText.includes('with Ben')")
    return ana, ben


def said(v) -> str:
    """What a screen reader is told of recording."""
    return v.page.locator("#recorded-said[role=status]").inner_text()


def test_one_asks_the_other_agrees_both_see_the_mark_and_either_stops_it(pair):
    ana, ben = pair
    assert ana.page.evaluate(MARK) is False and not ana.page.evaluate(OPEN)
    ana.page.click("[data-call=record]")
    ben.until(OPEN, "Ben is asked")
    assert "Ana asks to record this call" in ben.page.locator("#consent").inner_text()
    assert ben.page.evaluate("document.activeElement.dataset.answer") == "refuse", "what is pressed by mistake says no"
    ana.until(f"({MARK}) === 'Asking to record…'")
    assert not ana.page.evaluate(OPEN)
    assert said(ana) == "Asking to record this call." and not said(ben), "the dialog tells Ben"
    ben.page.click("[data-answer=agree]")
    for v in pair:
        v.until(f"({MARK}).startsWith?.('Recording')", "both see the mark")
        assert v.page.evaluate(MARK) == "Recording · 3 pictures missing"
        assert said(v) == "This call is being recorded."
        assert v.page.evaluate("getComputedStyle(document.getElementById('recorded')).backgroundColor") == (
            "rgb(179, 32, 47)"
        )
        assert v.page.locator("[data-call=record]").get_attribute("aria-pressed") == "true"
    assert not ben.page.evaluate(OPEN)
    ben.page.click("[data-call=record]")
    for v in pair:
        v.until(f"!({MARK})", "the mark goes with the recording")
        v.until("window.streamsvc.stats.notices.at(-1)?.message === 'Ben stopped the recording; it is kept.'")
        assert not said(v)


@pytest.mark.parametrize("how", ["button", "Escape"])
def test_who_is_asked_says_no_and_the_asker_is_told(pair, how):
    ana, ben = pair
    ana.page.click("[data-call=record]")
    ben.until(OPEN)
    if how == "button":
        ben.page.click("[data-answer=refuse]")
    else:
        ben.page.keyboard.press("Escape")
    for v in pair:
        v.until("window.streamsvc.stats.notices.at(-1)?.code === 'refused'")
        assert v.page.evaluate(MARK) is False and not v.page.evaluate(OPEN)


def test_a_question_is_taken_back(pair):
    ana, ben = pair
    ana.page.click("[data-call=record]")
    ben.until(OPEN)
    ana.until(f"{LABEL} === 'Cancel'")
    ana.page.click("[data-call=record]")
    ben.until(f"!({OPEN})", "nothing is asked any more")
    ana.until(f"{LABEL} === 'Record'")


def test_a_service_that_does_not_record_offers_nothing(visit, service):
    v = visit()
    v.page.add_init_script(
        """const parse = JSON.parse;
        JSON.parse = (text) => { const m = parse(text); if (m?.type === 'joined') m.records = false; return m; };"""
    )
    v.join("not-recorded", url=service.url, viewer=True)
    v.in_call()
    assert v.page.locator("[data-call=record]").is_hidden()
