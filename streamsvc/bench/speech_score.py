"""Quality and lag of many phrases under one setting, with intervals by paired bootstrap. Numbers in, numbers out.

A corpus score is computed from sums over phrases, so each phrase is counted once and resamples only add up counts
(what sacrebleu's own paired test does). Every setting is resampled by the same draws, so that ratios are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamsvc.speech.errors import SpeechError
from streamsvc.speech.metrics import Output, lags

Array = NDArray[np.float64]
LAGS = ("LAAL", "LAAL_CA", "AL", "AL_CA", "AP", "DAL", "DAL_CA", "StartOffset_CA", "EndOffset_CA", "ATD", "ATD_CA")
DRAWS = 1000
INTERVAL = 90.0
"""Percent that an interval covers."""


class Quality:
    """sacrebleu's chrF and BLEU; raises SpeechError when it isn't installed."""

    def __init__(self) -> None:
        try:
            from sacrebleu.metrics.bleu import BLEU
            from sacrebleu.metrics.chrf import CHRF
        except ImportError as e:
            raise SpeechError(f"{e.name} isn't installed and scores the translations: pip install sacrebleu") from None
        self._metrics: dict[str, Any] = {"chrf": CHRF(), "bleu": BLEU()}

    def counts(self, texts: Sequence[str], references: Sequence[str]) -> dict[str, Array]:
        """Return for each metric (phrases, counts): what its corpus score is computed from."""
        found = {}
        for name, metric in self._metrics.items():
            found[name] = np.array(metric._extract_corpus_statistics(list(texts), [list(references)]), np.float64)
        return found

    def score(self, name: str, counts: Array) -> float:
        """Return the corpus score, 0 to 100, of (phrases, counts)."""
        rows = [[int(n) for n in counts.sum(axis=0)]]
        return float(self._metrics[name]._aggregate_and_compute(rows).score)

    def signatures(self) -> dict[str, str]:
        """Return how each metric was computed; known once something was scored."""
        return {name: str(metric.get_signature()) for name, metric in self._metrics.items()}


@dataclass(frozen=True, slots=True)
class Scored:
    """Phrases under one setting: counts by metric, lags (phrases, len(LAGS)) in ms (NaN: nothing was said), words and
    the references' words."""

    counts: dict[str, Array]
    lags: Array
    words: Array
    reference_words: Array

    @staticmethod
    def of(outputs: Sequence[Output], references: Sequence[str], quality: Quality) -> Scored:
        """Score phrases."""
        found = [lags(o, r) for o, r in zip(outputs, references, strict=True)]
        table = [[np.nan if f[name] is None else f[name] for name in LAGS] for f in found]
        return Scored(
            quality.counts([o.text for o in outputs], references),
            np.array(table, np.float64),
            np.array([len(o.words) for o in outputs], np.float64),
            np.array([len(r.split()) for r in references], np.float64),
        )

    @staticmethod
    def together(parts: Sequence[Scored]) -> Scored:
        """Return the phrases of several as one."""
        return Scored(
            {name: np.concatenate([p.counts[name] for p in parts]) for name in parts[0].counts},
            *(np.concatenate([getattr(p, name) for p in parts]) for name in ("lags", "words", "reference_words")),
        )


def _figures(scored: Scored, offline: Scored, quality: Quality, at: NDArray[np.int64]) -> dict[str, float]:
    row: dict[str, float] = {}
    for name in scored.counts:
        row[name] = quality.score(name, scored.counts[name][at])
        whole = quality.score(name, offline.counts[name][at])
        row[f"{name}_share"] = row[name] / whole if whole else 0.0
    said = scored.lags[at]
    row |= {name: float(v) for name, v in zip(LAGS, np.nanmean(said, axis=0), strict=True)}
    row["word_ratio"] = float(scored.words[at].sum() / scored.reference_words[at].sum())
    return row


def figures(scored: Scored, offline: Scored, quality: Quality, draws: int = 0) -> dict[str, Any]:
    """Return chrf, bleu, their shares of `offline` (the same phrases, waited for), the mean lags (ms) and word_ratio.

    With `draws`, `intervals` holds [low, high] of each, from resamples of the phrases.
    """
    count = len(scored.words)
    result: dict[str, Any] = _figures(scored, offline, quality, np.arange(count))
    if draws:
        random = np.random.default_rng(2023)
        rows = [_figures(scored, offline, quality, random.integers(0, count, count)) for _ in range(draws)]
        edges = (50 - INTERVAL / 2, 50 + INTERVAL / 2)
        result["intervals"] = {
            name: [float(np.nanpercentile([r[name] for r in rows], edge)) for edge in edges] for name in rows[0]
        }
    return result
