"""Names and terms as they are typed: the page refuses what the service would, says which, and keeps what was typed."""

from __future__ import annotations

import pytest

from streamsvc.frames.glossary import MAX_TERM, MAX_TERMS, GlossaryError, parse_glossary

TEXTS = [
    "",
    "Siobhan Kowalczyk,\n Drogheda ;",
    "a  b, a b,\tc\u2003d",
    "x" * MAX_TERM,
    "x" * (MAX_TERM + 1),
    "\U0001f600" * MAX_TERM,
    ",".join(map(str, range(MAX_TERMS))),
    ",".join(map(str, range(MAX_TERMS + 1))),
    ",".join(["same"] * 100),
    "zero\u200bwidth",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_read_as_the_service_reads_it(run, text: str) -> None:
    found = run("glossary", "return m.readGlossary(argument);", text)
    try:
        expected = list(
            parse_glossary(term for part in text.split(",") for term in part.replace(";", "\n").split("\n"))
        )
    except GlossaryError:
        assert found["terms"] is None and found["problem"]
    else:
        assert found == {"terms": expected, "problem": ""}


def test_a_term_that_is_too_long_is_named_not_sent_and_stays_while_the_call_comes_back(visit, service) -> None:
    v = visit()
    v.join("glossary", url=service.url, viewer=True)
    v.in_call()
    page = v.page
    page.click("[data-call=settings]")
    field = page.locator("[data-set=glossary]")
    field.fill("Drogheda")
    field.blur()
    taken = "window.__heard.filter((m) => m.type === 'configured').at(-1)?.settings.speech.glossary"
    v.until(f"String({taken}) === 'Drogheda'")
    typed = f"Drogheda, Kowalczyk{'k' * 200}"
    field.fill(typed)
    told = page.locator("[data-set=misspelt]")
    assert "“Kowalczykkkkkkkkkkkkkkkk…” has 209 letters" in told.inner_text()
    assert field.get_attribute("aria-invalid") == "true"
    field.blur()
    page.select_option("[data-set=source]", "es")
    v.until("window.__heard.filter((m) => m.type === 'configured').at(-1).settings.speech.source === 'es'")
    assert field.input_value() == typed
    assert page.evaluate(f"String({taken})") == "Drogheda"
    field.fill("Drogheda, Kowalczyk")
    field.blur()
    v.until(f"String({taken}) === 'Drogheda,Kowalczyk'")
    assert told.inner_text() == "" and field.get_attribute("aria-invalid") is None


def test_what_the_service_refuses_all_the_same_stays_typed(run) -> None:
    body = """
      const make = (tag) => document.createElementNS("http://www.w3.org/1999/xhtml", tag);
      const area = make("textarea");
      const sent = [];
      const field = new m.GlossaryField(area, make("p"), (terms) => sent.push(terms));
      const type = (text) => { area.value = text; area.oninput(); area.onchange(); };
      field.show(["Ana"]);
      type("Ana, Ben");
      field.show(["Ana"]);
      const refused = area.value;
      field.show(["Ana", "Ben"]);
      field.show(["Ana"]);
      return [sent, refused, area.value];
    """
    assert run("glossary", body) == [[["Ana", "Ben"]], "Ana, Ben", "Ana"]
