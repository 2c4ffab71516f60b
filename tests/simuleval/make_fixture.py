"""Make scores.jsonl: what SimulEval 1.1.4 itself says of a few interpretations. Run once, its results are committed.

    pip install simuleval==1.1.4    # in an environment of its own
    python tests/simuleval/make_fixture.py

Plain figures come from its scorers without, `_CA` ones with computation awareness: its command line gives the CA
figures for both where the flag is on.
"""

import json
import random
from pathlib import Path

from simuleval.evaluator.instance import LogInstance, SpeechOutputInstance
from simuleval.evaluator.scorers.latency_scorer import LATENCY_SCORERS_DICT

NAMES = ("AL", "LAAL", "AP", "DAL", "StartOffset", "EndOffset", "ATD")


def text_case(rng, chunks, source_ms, words, lag_ms):
    """Words in chunks of one to five at growing delays, the last chunk `lag_ms` after the end of the source."""
    delays, elapsed, at = [], [], 0.0
    for i in range(chunks):
        at = source_ms + lag_ms if i == chunks - 1 else min(at + rng.randrange(200, 2000), source_ms)
        count = rng.randrange(1, 6)
        delays += [at] * count
        elapsed += [at + rng.randrange(20, 400) + 100 * i] * count
    reference = " ".join(f"r{i}" for i in range(words))
    prediction = " ".join(f"w{i}" for i in range(len(delays)))
    return {
        "prediction": prediction,
        "delays": delays,
        "elapsed": elapsed,
        "reference": reference,
        "source_length": source_ms,
    }


def text_scores(case):
    info = {"index": 0, "prediction_length": len(case["delays"]), **case}
    scores = {}
    for suffix, aware in (("", False), ("_CA", True)):
        for name in NAMES:
            scorer = LATENCY_SCORERS_DICT[name](computation_aware=aware)
            scores[name + suffix] = scorer({0: LogInstance(json.dumps(info))})
    return scores


def speech_case(rng, pieces, source_ms):
    delays = sorted(rng.randrange(500, source_ms) for _ in range(pieces))
    return {"delays": delays, "durations": [rng.randrange(150, 2500) for _ in delays], "source_length": source_ms}


class Spoken(SpeechOutputInstance):
    """A speech output that was made elsewhere."""

    def __init__(self, case):
        self.delays, self.durations, self.intervals = case["delays"], case["durations"], []
        self.reference, self.metrics, self.length = None, {}, case["source_length"]
        end = 0.0
        for delay, duration in zip(self.delays, self.durations, strict=True):
            start = max(end, delay)
            self.intervals.append([start, duration])
            end = start + duration

    @property
    def source_length(self):
        return self.length


def speech_scores(case):
    return {name: LATENCY_SCORERS_DICT[name]()({0: Spoken(case)}) for name in ("EndOffset", "ATD")}


def main():
    rng = random.Random(2023)
    texts = [
        text_case(rng, 6, 9000.0, 14, 0),
        text_case(rng, 4, 5000.0, 20, 700),
        text_case(rng, 12, 15321.5, 11, 0),
        text_case(rng, 1, 3000.0, 4, 0),
        text_case(rng, 1, 3000.0, 4, 500),
        text_case(rng, 25, 30000.0, 60, 1200),
    ]
    speeches = [speech_case(rng, n, ms) for n, ms in ((1, 3000), (5, 9000), (12, 30000))]
    cases = {"text": [(c, text_scores(c)) for c in texts], "speech": [(c, speech_scores(c)) for c in speeches]}
    lines = [json.dumps({"kind": kind, **case, "scores": scores}) for kind in cases for case, scores in cases[kind]]
    Path(__file__).with_name("scores.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
