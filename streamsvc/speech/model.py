"""Whisper through CTranslate2: the `Translator` of the service, with short audio context and bounded decodes.

Promises: nothing is padded to 30 s (duration + 2 s of silence; under 1.5 s the decoder loops), every decode has a token
cap, temperature fallback doesn't exist, one CPU thread a call. One instance serves all streams of a worker; calls may
come from several threads. Unpadded, a pass on 3 s costs a quarter of a padded one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from streamsvc.frames.audio import SPEECH_RATE, Samples
from streamsvc.speech.errors import SpeechError
from streamsvc.speech.translator import Encoded, Hypothesis, Request, Segment, Word
from streamsvc.speech.weights import Progress, find_model

TAIL_S = 2.0
FINAL_TAIL_S = 3.0
"""A third second of silence is worth 0.9 chrF to a whole phrase (60 prompts) and costs a flush 15 ms."""

MAX_SECONDS = 27.0
TOKENS_PER_SECOND = 9
TOKENS_AT_LEAST = 14
CONTEXT = 448
MARK_S = 0.02
"""Seconds per timestamp token."""


FRAMES_PER_SECOND = 50
"""Of the encoder's output."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """Tokens that a decode starts from: prompt and task, the prefix it goes on from, and how many it may add."""

    head: list[int]
    forced: list[int]
    cap: int


def token_cap(seconds: float) -> int:
    """Return how many tokens `seconds` of speech may become."""
    return min(int(TOKENS_PER_SECOND * seconds) + TOKENS_AT_LEAST, CONTEXT // 2)


class Whisper:
    """Loads at construction; raises SpeechError when the model or the device can't be used."""

    def __init__(self, model: str | Path | None = None, device: str = "cpu", progress: Progress | None = None) -> None:
        folder = find_model(model, progress)
        try:
            import ctranslate2
            import tokenizers
            from faster_whisper.feature_extractor import FeatureExtractor
        except ImportError as e:
            raise SpeechError(f"{e.name} isn't installed; install the extra: pip install 'streamsvc[speech]'") from None
        engine: Any = ctranslate2
        extractor: Any = FeatureExtractor
        if device == "auto":
            device = "cuda" if engine.get_cuda_device_count() else "cpu"
        if device not in ("cpu", "cuda"):
            raise SpeechError(f"device {device!r} isn't known; auto, cpu or cuda")
        if device == "cuda" and engine.get_cuda_device_count() == 0:
            raise SpeechError("no CUDA device is visible to CTranslate2; use cpu")
        if progress:
            progress(f"loading {folder.name} on {device}")
        try:
            self._model: Any = engine.models.Whisper(
                str(folder),
                device=device,
                compute_type="int8" if device == "cpu" else "int8_float16",
                intra_threads=1,
                inter_threads=1,
            )
        except (RuntimeError, ValueError) as e:
            raise SpeechError(
                f"{folder / 'model.bin'} can't be loaded ({e}); it is damaged or of another kind"
            ) from None
        try:
            self._tokens: Any = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as e:  # tokenizers raises bare Exception
            raise SpeechError(f"{folder / 'tokenizer.json'} can't be read ({e})") from None
        if not self._model.is_multilingual:
            raise SpeechError(f"{folder} is an English-only model; a multilingual one is needed to translate")
        self.name = folder.name
        self._storage = engine.StorageView.from_array
        self._features = extractor(feature_size=self._model.n_mels)
        self._start = self._id("<|startoftranscript|>")
        self._previous = self._id("<|startofprev|>")
        self._no_marks = self._id("<|notimestamps|>")
        self._end = self._id("<|endoftext|>")
        self._first_mark = self._no_marks + 1

    def _id(self, token: str) -> int:
        found: int | None = self._tokens.token_to_id(token)
        if found is None:
            raise SpeechError(f"the tokenizer of {self.name} has no {token}; it isn't Whisper's")
        return found

    def _task(self, language: str) -> list[int]:
        # English "translated" to English and transcribed are the same job; transcription is what it was trained for.
        return [
            self._start,
            self._id(f"<|{language}|>"),
            self._id("<|transcribe|>" if language == "en" else "<|translate|>"),
        ]

    def encode(self, audio: Samples, *, final: bool = False) -> Encoded:
        """Encode (n,) float32 16 kHz mono and the silence after it; what is beyond 27 s is left out."""
        tail_s = FINAL_TAIL_S if final else TAIL_S
        audio = audio[: int(MAX_SECONDS * SPEECH_RATE)]
        padded = np.concatenate([audio, np.zeros(int(tail_s * SPEECH_RATE), np.float32)])
        features = self._features(padded, padding=0)
        even = features.shape[1] // 2 * 2
        view = self._storage(np.ascontiguousarray(features[None, :, :even]))
        return Encoded(self._model.encode(view), len(audio) / SPEECH_RATE)

    def tokens(self, text: str) -> tuple[int, ...]:
        """See Translator."""
        return tuple(self._tokens.encode(f" {text}", add_special_tokens=False).ids)

    def identify(self, encoded: Encoded) -> dict[str, float]:
        """Return the probability of each language Whisper knows."""
        return {token[2:-2]: float(p) for token, p in self._model.detect_language(encoded.handle)[0]}

    def decode(self, requests: Sequence[Request]) -> list[Hypothesis]:
        """See Translator.decode. In a batch, the shorter sounds are lengthened to the longest by the silence at their
        ends, after the encoder: what is said changes little (45.4 chrF for 46.6, within noise, on 80 prompts), a decode
        of four costs about half of four."""
        plans = [self._plan(request) for request in requests]
        answers = [Hypothesis((), 0.0, 0.0)] * len(requests)
        chosen = [i for i, plan in enumerate(plans) if plan.cap > 0]
        if chosen:
            found = self._generate([requests[i] for i in chosen], [plans[i] for i in chosen])
            for i, hypothesis in zip(chosen, found, strict=True):
                answers[i] = hypothesis
        return answers

    def _plan(self, request: Request) -> _Plan:
        said = [t for word in request.prefix for t in (*word.lead, *word.tokens)]
        forced = said if request.timestamps else [t for t in said if t < self._first_mark]
        head = ([self._previous, *request.prompt] if request.prompt else []) + self._task(request.language)
        if not request.timestamps:
            head.append(self._no_marks)
        room = CONTEXT - len(head) - len(forced) - 1
        return _Plan(head, forced, min(max(token_cap(request.encoded.seconds) - len(forced), TOKENS_AT_LEAST), room))

    def _generate(self, requests: Sequence[Request], plans: Sequence[_Plan]) -> list[Hypothesis]:
        head = len(plans[0].head)
        wanted = max(plan.cap + len(plan.forced) for plan in plans)
        results = self._model.generate(
            self._together([r.encoded.handle for r in requests]),
            [plan.head + plan.forced for plan in plans],
            beam_size=requests[0].beam,
            no_repeat_ngram_size=4,
            # CTranslate2 allows min(max_length / 2, max_length - prompt), the forced prefix counted as output.
            max_length=min(max(2 * wanted, head + wanted), 2 * CONTEXT),
            # It would forbid the end of text as the first token decoded: after a prefix that says everything the
            # decoder would have to say it all again.
            suppress_blank=False,
            return_scores=True,
            return_no_speech_prob=True,
        )
        found = []
        for request, plan, result in zip(requests, plans, results, strict=True):
            tokens = [t for t in result.sequences_ids[0] if t != self._end][len(plan.forced) :][: plan.cap]
            segments = self._segments(tokens, request.encoded.seconds, request.prefix)
            found.append(Hypothesis(segments, float(result.no_speech_prob), float(result.scores[0])))
        return found

    def _together(self, handles: Sequence[Any]) -> Any:
        """Return encoded sounds (1, t, c) as one (n, t, c), all as long as the longest."""
        if len(handles) == 1:
            return handles[0]
        sounds = [np.array(handle) for handle in handles]
        longest = max(sound.shape[1] for sound in sounds)
        batch = np.empty((len(sounds), longest, sounds[0].shape[2]), sounds[0].dtype)
        for row, sound in zip(batch, sounds, strict=True):
            own = sound.shape[1]
            row[:own] = sound[0]
            # Every sound ends in silence, `TAIL_S` of it or more.
            silence = sound[0, -FRAMES_PER_SECOND:]
            row[own:] = np.resize(silence, (longest - own, sound.shape[2]))
        return self._storage(batch)

    def _segments(self, tokens: Sequence[int], seconds: float, prefix: Sequence[Word]) -> tuple[Segment, ...]:
        start_s = prefix[-1].end_s if prefix else 0.0
        segments: list[Segment] = []
        lead: list[int] = []
        groups: list[list[int]] = []
        leads: list[tuple[int, ...]] = []

        def close(end_s: float) -> None:
            if not groups:
                return
            end_s = min(max(end_s, start_s), max(seconds, start_s))
            texts = [self._tokens.decode(g).strip() for g in groups]
            lengths = np.cumsum([0.0] + [len(t) + 1.0 for t in texts])
            at = start_s + (end_s - start_s) * lengths / lengths[-1]
            words = tuple(
                Word(t, float(at[i]), float(at[i + 1]), leads[i], tuple(g))
                for i, (t, g) in enumerate(zip(texts, groups, strict=True))
                if t
            )
            if words:
                segments.append(Segment(words, start_s, end_s))
            groups.clear()
            leads.clear()

        for token in tokens:
            if token >= self._first_mark:
                at_s = (token - self._first_mark) * MARK_S
                close(at_s)
                start_s = max(start_s, min(at_s, seconds))
                lead.append(token)
            elif token < self._end:
                begins = self._tokens.id_to_token(token).startswith("Ġ")
                if prefix and not segments and not groups and not begins:
                    # It goes on with the last word of the prefix, which can't be changed any more.
                    lead.append(token)
                    continue
                if not groups or begins:
                    groups.append([])
                    leads.append(tuple(lead))
                    lead.clear()
                groups[-1].append(token)
        close(seconds)
        return tuple(segments)

    def align(
        self, encoded: Encoded, language: str, words: Sequence[Word], *, prefix: Sequence[Word] = ()
    ) -> tuple[Word, ...]:
        """Time `words` by CTranslate2's DTW over attention heads, as Whisper's word timestamps are; see Translator."""
        everything = [*prefix, *words]
        text = [t for w in everything for t in w.tokens]
        head = self._task(language)
        if not words or len(text) + len(head) + 2 >= CONTEXT:
            return tuple(words)
        frames = max(int(encoded.seconds * 50) * 2, 2)
        found = self._model.align(encoded.handle, head, [text], frames)[0]
        token_at, frame_at = (np.array(x) for x in zip(*found.alignments, strict=True))
        # The frame where each token's run begins; the last token is the end of text.
        begins = frame_at[np.flatnonzero(np.diff(token_at, prepend=-1))] * MARK_S
        probabilities = found.text_token_probs
        timed = []
        first = sum(len(w.tokens) for w in prefix)
        for word in words:
            last = first + len(word.tokens)
            timed.append(
                replace(
                    word,
                    start_s=float(begins[min(first, len(begins) - 1)]),
                    end_s=float(begins[last]) if last < len(begins) else encoded.seconds,
                    probability=float(np.mean(probabilities[first:last])) if word.tokens else None,
                    attended_s=float(begins[min(last - 1, len(begins) - 1)]),
                )
            )
            first = last
        return tuple(timed)
