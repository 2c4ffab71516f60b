"""What the charts behind the meter calculate: a minute, a way, a network, a capture."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

REASONS = (
    r'_drop\([^"\n]*"([a-z-]+)"\)',
    r'_lost\(\w+, "([a-z-]+)"',
    r'Dropped\([^"\n]*"([a-z-]+)"\)',
    r'outcome, name = True, "([a-z-]+)"',
    r'UNREPORTED = "([a-z-]+)"',
)
"""Where the code gives a reason."""


SEEN = """
  const seen = ([presentationTime, expectedDisplayTime]) => m.seenAt({ presentationTime, expectedDisplayTime }, 990);
  return argument.map(seen);
"""


def test_a_picture_is_seen_when_it_was_composed_whatever_a_busy_browser_expects(run):
    assert run("shown", SEEN, [[1000, 1017], [1000, 733], [1000, 1599]]) == [1017, 1000, 1050]
    assert run("shown", "return [m.seenAt({}, 990), m.seenAt({ expectedDisplayTime: 1000 }, 990)];") == [990, 1000]


NARROW = """
  const canvas = document.createElementNS("http://www.w3.org/1999/xhtml", "canvas");
  const sizes = { clientWidth: { value: argument }, clientHeight: { value: 100 } };
  Object.defineProperties(canvas, sizes);
  document.documentElement.append(canvas);
  canvas.style.fontSize = "16px";
  const plot = new m.Plot(canvas, [-60, 0], [0, 1]);
  const told = [];
  plot.text = (words) => told.push(words);
  plot.columns([-60, -45, -30, -15, 0], (s) => ({ "-60": "60 s ago", 0: "now" })[s] ?? `${-s}`);
  canvas.remove();
  return told;
"""


def test_words_under_a_narrow_chart_do_not_touch_each_other(run):
    assert run("plot", NARROW, 600) == ["60 s ago", "45", "30", "15", "now"]
    assert run("plot", NARROW, 300) == ["60 s ago", "30", "15", "now"]


def test_the_topmost_words_of_a_chart_are_not_cut_off_however_large_letters_are(run):
    body = """
      const canvas = document.createElementNS("http://www.w3.org/1999/xhtml", "canvas");
      document.documentElement.append(canvas);
      canvas.style.fontSize = `${argument}px`;
      const { top, em } = new m.Plot(canvas, [0, 1], [0, 1]);
      canvas.remove();
      return [top, em];
    """
    for size in (11, 40):
        top, em = run("plot", body, size)
        assert em == size and top >= em / 2


def test_a_way_is_without_gaps_and_names_what_lies_between(run):
    frame = {
        "latency": 100,
        "stages": [
            {"name": "receive", "start": 0, "end": 20},
            {"name": "splat", "start": 30, "end": 40},
            {"name": "splat", "start": 40, "end": 50},
            {"name": "copy", "start": 45, "end": 60},
        ],
    }
    parts = run("way", "return m.way(argument);", frame)
    assert [(p["name"], p["start"], p["end"]) for p in parts] == [
        ("receive", 0, 20),
        ("waiting", 20, 30),
        ("splat", 30, 50),
        ("copy", 50, 60),
        ("to the screen", 60, 100),
    ]
    assert [p["name"] for p in run("way", "return m.way(argument);", {**frame, "latency": None})][-1] == "copy"
    assert run("way", "return m.way({ stages: [], latency: 7 });") == [{"name": "waiting", "start": 0, "end": 7}]


def test_a_minute_is_kept_and_no_more(run):
    found = run(
        "minute",
        """
        const minute = new m.Minute();
        for (let t = 0; t < 150_000; t += 500) minute.live({ goodput: t }, t);
        const trace = (ms) => ({ capture_ns: ms * 1e6, deadline_ns: ms * 1e6 + 4e8, displayed_ns: null, stages: [] });
        minute.frames([trace(149_000), trace(20_000), trace(148_000), trace(151_000)], 149_500, (ns) => ns / 1e6);
        const { live, frames } = minute.until(149_500);
        return [live.length, live[0].at, frames.map((f) => [f.at, f.latency, f.budget])];
        """,
    )
    assert found == [120, 90_000, [[148_000, None, 400], [149_000, None, 400]]]
    percentiles = "return argument.map(([values, q]) => m.percentile(values, q));"
    assert run("minute", percentiles, [[[], 50], [[3, 1, 2, 4], 50], [[1, 2], 25]]) == [None, 2.5, 1.25]


def test_what_a_connection_did_is_the_difference_of_two_counts(run):
    def report(received: int, lost: int, bytes_in: int, fraction: float, pair: str = "P1") -> list[list]:
        stats = [
            {"id": "T", "type": "transport", "selectedCandidatePairId": pair},
            {
                "id": pair,
                "type": "candidate-pair",
                "currentRoundTripTime": 0.025,
                "bytesReceived": bytes_in,
                "bytesSent": 0,
            },
            {"id": "I1", "type": "inbound-rtp", "packetsReceived": received, "packetsLost": lost},
            {"id": "I2", "type": "inbound-rtp", "packetsReceived": received, "packetsLost": 0},
            {"id": "O1", "type": "outbound-rtp", "packetsSent": 300},
            {"id": "O2", "type": "outbound-rtp", "packetsSent": 100},
            {"id": "R1", "type": "remote-inbound-rtp", "localId": "O1", "fractionLost": fraction},
            {"id": "R2", "type": "remote-inbound-rtp", "localId": "O2", "fractionLost": 0},
        ]
        return [[s["id"], s] for s in stats]

    body = """
      const [first, second] = argument.map((entries, i) => m.totals(new Map(entries), 1000 * (i + 1)));
      return m.between(first, second);
    """
    found = run("network", body, [report(100, 2, 1000, 0), report(140, 12, 126_000, 0.2)])
    assert found == {
        "at": 2000,
        "period": 1000,
        "rtt": 25,
        "inBps": 1_000_000,
        "outBps": 0,
        "inLost": pytest.approx(10 / 90),
        "outLost": pytest.approx(0.15),
    }
    recovered = run("network", body, [report(100, 12, 0, 0), report(140, 2, 0, 0)])
    assert recovered["inLost"] == 0, "what was counted as lost has come"
    assert run("network", body, [report(100, 2, 1000, 0), report(1, 0, 10, 0, "P2")]) is None, "another connection"
    assert run("network", "return m.totals(new Map(), 1);") is None


def test_every_reason_of_the_ledger_has_plain_words(run):
    package = Path(__file__).resolve().parents[2] / "streamsvc"
    files = [f for room in ("session", "worker", "budget", "ledger") for f in (package / room).glob("*.py")]
    sources = "".join(f.read_text("utf-8") for f in files)
    reasons = sorted({reason for given in REASONS for reason in re.findall(given, sources)})
    assert {"superseded", "unreported", "thinned", "hopeless", "failed", "worker-down"} <= set(reasons)
    told = run("reasons", "return argument.map((r) => m.reasonInWords(r));", reasons)
    assert not [reason for reason, words in zip(reasons, told, strict=True) if " " not in words]


def test_captures_are_json_lines(run):
    text = run(
        "capture",
        "return m.captureFile({ frames: [], passes: [], network: argument }, 's', (at) => at * 1e6);",
        [{"at": 5, "period": 1000, "rtt": None, "inBps": 1.5, "outBps": 2, "inLost": None, "outLost": 0}],
    )
    assert json.loads(text) == {
        "v": 1, "kind": "network", "session": "s", "at_ns": 5_000_000, "period_ns": 1_000_000_000, "rtt_ns": None,
        "in_bps": 1.5, "out_bps": 2, "in_lost": None, "out_lost": 0,
    }  # fmt: skip


def missed(reason: str | None, number: int) -> list[dict]:
    return [{"outcome": "shown" if reason is None else "dropped", "reason": reason}] * number


@pytest.mark.parametrize(
    ("frames", "network", "words"),
    [
        (missed(None, 99) + missed("thinned", 1), {}, "All is well: 99 % of the pictures were shown in time."),
        (missed(None, 60) + missed("thinned", 40), {}, "40 % .* no time for more. Choose a smaller picture size"),
        (missed(None, 60) + missed("unreported", 40), {"outLost": 0.05}, "your network loses .* cable"),
        (missed(None, 60) + missed("unreported", 40), {"rtt": 20}, "this device did not show them"),
        (missed(None, 60) + missed("worker-down", 40), {}, "something on the service’s side failed"),
        (missed(None, 60) + missed("a-new-reason", 40), {}, "something on the service’s side failed"),
    ],
)
def test_why_it_stutters_is_one_line_with_what_to_do(run, frames, network, words):
    found = run("why", "return m.whySays(argument);", {"frames": frames, "network": [network]})
    assert re.search(words, found), found


def test_nothing_is_said_of_no_pictures(run):
    assert run("why", "return m.whySays({ frames: [], network: [] });") == ""


def test_what_was_not_shown_while_the_page_was_hidden_is_no_fault_of_the_device(run):
    body = """
      const minute = new m.Minute();
      const trace = (ms, outcome, reason = null) => ({
        capture_ns: ms * 1e6, deadline_ns: (ms + 400) * 1e6, displayed_ns: null, stages: [], outcome, reason,
      });
      minute.hide(true, 10_000);
      const lost = [9800, 10_500, 19_900].map((ms) => trace(ms, "dropped", "unreported"));
      minute.frames(lost, 11_000, (ns) => ns / 1e6);
      const first = m.whySays(minute.until(20_000));
      minute.hide(false, 20_000);
      minute.frames([trace(20_100, "shown")], 21_000, (ns) => ns / 1e6);
      const second = m.whySays(minute.until(21_000));
      minute.frames([trace(20_200, "dropped", "unreported")], 21_000, (ns) => ns / 1e6);
      return [first, second, m.whySays(minute.until(21_000))];
    """
    hidden = "While this page was hidden its pictures were not shown."
    first, second, third = run("minute why", body)
    assert first == hidden
    assert second == f"{hidden} All is well: 100 % of the pictures were shown in time."
    assert third.startswith(f"{hidden} It stutters: 50 %")
