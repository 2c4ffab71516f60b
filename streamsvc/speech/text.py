"""Small functions on words that policies, captions and the interpreter share."""

from __future__ import annotations

from collections.abc import Sequence

from rapidfuzz.distance import Indel


def fold(word: str) -> str:
    """Return the word without case and outer punctuation; a word of punctuation alone folds to the empty string."""
    return "".join(c for c in word.casefold() if c.isalnum() or c in "'-").strip("'-")


def ratio(a: str, b: str) -> float:
    """Return 1 - (insertions + deletions, a substitution counting 2) / (sum of both lengths), on characters."""
    return float(Indel.normalized_similarity(a, b))


def common_prefix(sequences: Sequence[Sequence[str]]) -> int:
    """Return how many items all sequences share from the front."""
    count = 0
    for items in zip(*sequences, strict=False):
        if any(item != items[0] for item in items[1:]):
            break
        count += 1
    return count


def copies(words: Sequence[str], source: Sequence[str], run: int = 4) -> bool:
    """Say whether `words` holds a run of `run` words that stands in `source` too (both folded)."""
    grams = {tuple(source[i : i + run]) for i in range(len(source) - run + 1)}
    return any(tuple(words[i : i + run]) in grams for i in range(len(words) - run + 1))


def recites(words: Sequence[str], terms: Sequence[Sequence[str]], run: int = 4) -> bool:
    """Say whether `words` holds a run of `run` words that goes from one of the `terms` into the next (all folded)."""
    flat = [(word, i) for i, term in enumerate(terms) for word in term]
    spans = (flat[i : i + run] for i in range(len(flat) - run + 1))
    across = {tuple(word for word, _ in span) for span in spans if span[0][1] != span[-1][1]}
    return any(tuple(words[i : i + run]) in across for i in range(len(words) - run + 1))


def echo(said: Sequence[str], words: Sequence[str], longest: int = 4) -> int:
    """Return how many of the first `words` repeat the end of what was `said` (both folded)."""
    for k in range(min(longest, len(said), len(words)), 0, -1):
        if list(said[-k:]) == list(words[:k]):
            return k
    return 0
