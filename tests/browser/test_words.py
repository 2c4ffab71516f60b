"""Whatever the service can refuse, the page says in plain words: what happened, and what to do next."""

from __future__ import annotations

import re
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "streamsvc"
RAISED = re.compile(r'(?:SignallingError|EdgeError|Refused|Error)\(\s*(?:code=)?"([a-z]+(?:-[a-z]+)*)"')
NAMED = re.compile(r'\bcode(?:: str)? = "([a-z]+(?:-[a-z]+)*)"')
# What answers to others than the page, and what its own code checks before it is sent.
OTHERS = {"client.py", "whip.py", "sdpfrag.py", "fake.py", "driver.py", "hardware_probe.py", "send.py", "colour.py"}
UNSEEN = {"no-turn", "no-relay"}


def codes() -> set[str]:
    """Return every code with which the service may refuse something that the page said."""
    found = {"bad-input"}
    for room in ("signalling", "session", "edge", "frames", "calibrate"):
        for file in (SOURCE / room).glob("*.py"):
            if file.name not in OTHERS:
                text = file.read_text("utf-8")
                found |= {*RAISED.findall(text), *NAMED.findall(text)}
    return found - UNSEEN


def test_every_code_has_a_title_and_a_next_step(run) -> None:
    found = codes()
    assert len(found) > 35 and {"bad-token", "not-allowed", "setup-over", "bad-sdp"} <= found
    body = """
      return argument.map((code) => {
        const { title, text } = m.setupProblem({ code, message: "" }) ?? m.explain(code, "");
        return [code, title, text];
      });
    """
    told = run("words setupwords", body, sorted(found))
    assert [code for code, title, text in told if title == "That did not work" and "Check" not in text] == []
    assert all(title and text.endswith(".") for _, title, text in told)


def test_where_the_service_knows_more_its_own_sentence_is_kept(run) -> None:
    said = "the token has ended; ask whoever gave it to you for another"
    for code in ("bad-token", "not-allowed", "bad-settings"):
        text = run("words", "return m.explain(argument.code, argument.said).text;", {"code": code, "said": said})
        assert text.startswith("The token has ended; ask whoever gave it to you for another. ")
