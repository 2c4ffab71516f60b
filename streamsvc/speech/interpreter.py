"""One speaker's interpreter: audio in, passes out, committed English back. No thread, no clock, no model of its own.

    feed(samples) ... next_pass() -> run its slices -> finish(pass, result) -> events; end() at the end of the stream

Invariants:
- a committed word is never changed, repeated or lost; source intervals are half-open, in order and don't overlap;
- at most one pass is outstanding; a partial pass that is abandoned isn't queued, a flush stays due;
- a phrase end (voice activity) and the end of the stream flush everything, for every policy, and clear its state;
- silence makes no pass; a phrase without a pause is cut before `MAX_BUFFER_S`, so the buffer is bounded.

By words (the default) a pass sees the whole phrase and continues from the committed words (forced prefix). By segments
(the paper's way) the audio is cut at the end of the last committed segment instead.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from streamsvc.frames.audio import SPEECH_RATE, Samples
from streamsvc.speech.batcher import Batcher
from streamsvc.speech.errors import SpeechError
from streamsvc.speech.events import Commit, Event, InterpreterStatistics, InterpretSettings, Passage, TentativeText
from streamsvc.speech.languages import LanguageState, check_languages, phrase_ended
from streamsvc.speech.passes import FLUSH_BEAM, PROMPT_LENGTHS, Pass, PassResult, quantised_prompt
from streamsvc.speech.policies import FRAME_S, Policy, State, Unit, find_policy, resolve
from streamsvc.speech.text import fold
from streamsvc.speech.translator import Translator, Word
from streamsvc.speech.vad import (
    CHUNK,
    ONSET_CHUNKS,
    PREROLL,
    TAIL,
    Detector,
    Phrase,
    PhraseTracker,
    VoiceActivity,
    quietest,
)

MAX_BUFFER_S = 20.0
TRIM_S = 12.0
TRIM_HARD_S = 16.0
TRIES = 3
HISTORY_WORDS = 256
GLOSSARY_TOKENS = 128
_MARGIN = SPEECH_RATE // 50


class Interpreter:
    """`batcher` decodes for all interpreters that share it. Raises SpeechError or PolicyError for settings that aren't
    accepted."""

    def __init__(
        self,
        translator: Translator,
        settings: InterpretSettings | None = None,
        detector: Detector | None = None,
        batcher: Batcher | None = None,
    ) -> None:
        settings = settings or InterpretSettings()
        check_languages(settings.source, settings.target)
        self._translator, self._batcher = translator, batcher or Batcher(translator)
        self._settings = replace(settings, parameters=resolve(settings.policy, settings.parameters))
        self._pinned = self._tokens(settings.glossary)
        self._wanted: InterpretSettings | None = None
        self._detector = detector or VoiceActivity()
        self._tracker = PhraseTracker(self._settings.parameters["phrase_timeout"])
        self._audio = np.zeros(0, np.float32)
        self._base = 0
        self._ended = False
        self._phrases: deque[Phrase] = deque()
        self._outstanding: Pass | None = None
        self._language = LanguageState()
        self._history: deque[Word] = deque(maxlen=HISTORY_WORDS)
        self._cut = 0
        self._cut_in_speech = False
        self._prefix: tuple[Word, ...] = ()
        self._state: State = ()
        self._heard_to = 0
        self._committed_to = 0
        self._beam = FLUSH_BEAM
        self._failures = 0
        self._prompt_dropped = False
        self._tentative = ""
        self._next_commit = 0
        self._passage: list[Commit] = []
        self._passage_from = 0
        self._passes = self._flushes = self._abandoned = self._rejected = self._words = 0

    # What goes in.

    def feed(self, samples: Samples) -> None:
        """Take (n,) float32 16 kHz mono samples that follow the ones before; any n."""
        if self._ended:
            raise SpeechError("the stream has ended; no more audio is accepted")
        block = np.nan_to_num(np.asarray(samples, np.float32).reshape(-1), nan=0.0, posinf=1.0, neginf=-1.0)
        self._audio = np.concatenate([self._audio, np.clip(block, -1.0, 1.0)])
        for probability in self._detector.feed(block):
            phrase = self._tracker.push(probability)
            if phrase is not None:
                self._phrases.append(phrase)
                if len(self._phrases) == 1:
                    self._enter(phrase)
        if not self._phrases and not self._outstanding:
            self._forget(self._fed - PREROLL - (ONSET_CHUNKS + 1) * CHUNK)

    def end(self) -> None:
        """Say that no more audio comes; what is left is flushed by the passes that follow."""
        if not self._ended:
            self._ended = True
            self._tracker.close(self._fed)

    def configure(
        self,
        policy: str | None = None,
        parameters: Mapping[str, float] | None = None,
        source: str | None = None,
        target: str | None = None,
        glossary: Sequence[str] | None = None,
    ) -> None:
        """Change settings in mid-stream; None leaves one as it is. Nothing that was heard or said is lost.

        Without `policy`, `parameters` change those of the policy in force. An outstanding pass still ends under the old
        settings. Raises PolicyError or SpeechError and changes nothing when a value isn't accepted.
        """
        old = self.settings
        name = policy or old.policy
        values = dict(parameters or {})
        if name == old.policy:
            values = {**old.parameters, **values}
        new = replace(
            old,
            policy=name,
            parameters=resolve(name, values),
            source=source or old.source,
            target=target or old.target,
            glossary=old.glossary if glossary is None else tuple(glossary),
        )
        check_languages(new.source, new.target)
        self._pinned = self._tokens(new.glossary)
        self._wanted = new
        self._apply()

    @property
    def settings(self) -> InterpretSettings:
        """The settings in force (or about to be, when a pass is outstanding), every parameter filled in."""
        return self._wanted or self._settings

    @property
    def language(self) -> str | None:
        """The source language as far as it is known."""
        return self._settings.source if self._settings.source != "auto" else self._language.known

    @property
    def finished(self) -> bool:
        """Whether the stream has ended and everything was said."""
        return self._ended and not self._phrases and self._outstanding is None

    def statistics(self) -> InterpreterStatistics:
        """Return the counts so far."""
        held = len(self._audio) / SPEECH_RATE
        return InterpreterStatistics(
            self._passes, self._flushes, self._abandoned, self._rejected, self._words, held, self.language
        )

    # What comes out.

    def next_pass(self) -> Pass | None:
        """Return a pass that is due with the audio so far, or None; also None while one is outstanding."""
        if self._outstanding is not None:
            return None
        while self._phrases:
            phrase = self._phrases[0]
            end = phrase.end if phrase.end is not None else min(phrase.speech_end + TAIL, self._fed)
            if end - self._cut > MAX_BUFFER_S * SPEECH_RATE:
                latest = self._cut + int((MAX_BUFFER_S - 0.5) * SPEECH_RATE)
                earliest = max(self._cut + int(TRIM_S * SPEECH_RATE), self._committed_to + SPEECH_RATE)
                position = quietest(phrase, min(earliest, latest - SPEECH_RATE), latest, latest)
                self._phrases.insert(1, self._tracker.split(phrase, position))
                end = position
            if phrase.end is None:
                return self._partial(phrase, end)
            if phrase.speech_end - self._cut > CHUNK * ONSET_CHUNKS:
                return self._issue(end, final=True)
            self._leave(phrase)
        return None

    def finish(self, pass_: Pass, result: PassResult) -> list[Event]:
        """Take the result of the outstanding pass; return what is committed by it and the new tentative text."""
        self._close(pass_)
        events: list[Event] = []
        self._passes += 1
        self._flushes += pass_.final
        if pass_.source == self._settings.source:
            self._language = result.language_state
        self._prompt_dropped |= result.prompt_dropped
        rejected = result.no_speech > self._settings.no_speech_threshold
        self._rejected += rejected
        tentative = ""
        if not rejected:
            units = self._units(pass_, result)
            count = len(units)
            if not pass_.final:
                count, self._state = self._policy.decide(self._state, units, self._settings.parameters)
            if self._by_segment:
                taken = tuple(w for s in result.segments[:count] for w in s.words)
            else:
                taken = result.words[:count]
            if taken:
                commit = self._commit(pass_, result, taken, count)
                self._passage.append(commit)
                events.append(commit)
            tentative = " ".join(w.text for w in result.words[len(taken) :])
        if pass_.final:
            events += self._close_passage(pass_, result, pass_.end)
            self._leave(self._phrases[0])
        else:
            self._heard_to = pass_.end
            long = self._by_segment and self._committed_to - self._passage_from > TRIM_S * SPEECH_RATE
            if long or self._cut_from() is not None:
                events += self._close_passage(pass_, result, self._committed_to)
            self._trim()
        if tentative != self._tentative:
            self._tentative = tentative
            events.append(TentativeText(tentative))
        self._apply()
        return events

    def abandon(self, pass_: Pass, *, failed: bool = False) -> bool:
        """Close the outstanding pass without a result: it was late, or the model `failed` on it. A partial one waits
        for more audio; a flush stays due, greedy from now on, because words may not be lost. On what the model fails
        `TRIES` times it would fail for ever: True is returned, and the rest of the phrase is left out."""
        self._close(pass_)
        self._abandoned += 1
        given_up = False
        if pass_.final:
            self._beam = 1
            self._failures += failed
            given_up = self._failures == TRIES
            if given_up:
                self._tentative = ""
                self._leave(self._phrases[0])
        else:
            self._heard_to = pass_.end
        self._apply()
        return given_up

    # Inside.

    @property
    def _fed(self) -> int:
        return self._base + len(self._audio)

    @property
    def _policy(self) -> Policy:
        return find_policy(self._settings.policy)

    @property
    def _by_segment(self) -> bool:
        return bool(self._settings.parameters.get("segments", 0))

    def _tokens(self, glossary: Sequence[str]) -> tuple[int, ...]:
        tokens = self._translator.tokens(", ".join(glossary) + ".") if glossary else ()
        if len(tokens) > GLOSSARY_TOKENS:
            raise SpeechError(
                f"a glossary of {len(tokens)} tokens isn't accepted: about {GLOSSARY_TOKENS // 4} short names fit into "
                f"the {GLOSSARY_TOKENS} that the model is given; leave some of the {len(glossary)} terms out"
            )
        return tokens

    def _close_passage(self, pass_: Pass, result: PassResult, end: int) -> list[Event]:
        """Return the commits since the last passage as one that ends at `end`, and begin the next there. A policy that
        waits for the phrase has heard all of it already; in a quarter of a second nothing else would be heard."""
        commits, self._passage = self._passage, []
        start, self._passage_from = self._passage_from, end
        if not commits or self._policy.waits or end - start < SPEECH_RATE // 4:
            return []
        audio = self._audio[max(start - self._base, 0) : end - self._base].copy()
        text = " ".join(c.text for c in commits)
        ids = tuple(c.id for c in commits)
        return [Passage(ids, text, audio, result.language, self._pinned, pass_.glossary)]

    def _enter(self, phrase: Phrase) -> None:
        self._cut = self._heard_to = self._passage_from = phrase.start
        self._passage.clear()
        self._forget(phrase.start)

    def _leave(self, phrase: Phrase) -> None:
        """Close the phrase: everything it held is committed or rejected."""
        self._phrases.popleft()
        self._history.extend(self._prefix)
        self._prefix, self._state = (), ()
        self._prompt_dropped = False
        self._beam, self._failures = FLUSH_BEAM, 0
        assert phrase.end is not None
        self._cut = phrase.end
        self._cut_in_speech = bool(self._phrases) and self._phrases[0].start == phrase.end
        if not self._cut_in_speech:
            self._language = phrase_ended(self._language)
        if self._phrases:
            self._enter(self._phrases[0])
        else:
            self._forget(self._cut)

    def _forget(self, position: int) -> None:
        drop = min(position, self._fed) - self._base
        if drop > 0:
            self._audio = self._audio[drop:]
            self._base += drop

    def _partial(self, phrase: Phrase, end: int) -> Pass | None:
        if self._policy.waits or phrase.speech_end <= self._cut:
            return None
        grown = end - max(self._heard_to, self._cut)
        return (
            self._issue(end, final=False) if grown >= self._settings.parameters["frame_width"] * SPEECH_RATE else None
        )

    def _issue(self, end: int, *, final: bool) -> Pass:
        settings, policy, state = self._settings, self._policy, self._state
        glossary, pinned, limit = settings.glossary, self._pinned, int(settings.parameters["context"])
        if self._prompt_dropped:
            glossary, pinned, limit = (), (), 0
        prompt, prompt_words = quantised_prompt(self._history, min(limit, PROMPT_LENGTHS[-1] - len(pinned)))
        self._outstanding = Pass(
            id=self._passes + self._abandoned,
            final=final,
            audio=self._audio[self._cut - self._base : end - self._base].copy(),
            start=self._cut,
            end=end,
            read=self._fed,
            translator=self._translator,
            batcher=self._batcher,
            source=settings.source,
            language_state=self._language,
            prefix=self._prefix,
            prompt=(*pinned, *prompt),
            prompt_words=prompt_words,
            glossary=tuple(tuple(map(fold, term.split())) for term in glossary),
            said=self._said_before_cut(),
            no_speech_threshold=settings.no_speech_threshold,
            beam=self._beam if final else int(settings.parameters["beam"]),
            commits=lambda units: policy.decide(state, units, settings.parameters)[0],
            by_segment=self._by_segment,
            aligned=policy.aligned,
        )
        return self._outstanding

    def _close(self, pass_: Pass) -> None:
        if self._outstanding is not pass_:
            raise SpeechError(f"pass {pass_.id} isn't outstanding")
        self._outstanding = None

    def _apply(self) -> None:
        if self._wanted is None or self._outstanding is not None:
            return
        old, self._settings, self._wanted = self._settings, self._wanted, None
        self._tracker.timeout_s = self._settings.parameters["phrase_timeout"]
        if old.policy != self._settings.policy or old.parameters != self._settings.parameters:
            self._state = ()
            if self._by_segment and self._prefix:
                self._cut_at(self._prefix[-1])
        if old.source != self._settings.source:
            self._language = LanguageState()

    def _said_before_cut(self) -> tuple[str, ...]:
        """The last words before a cut through running speech, which the model may hear twice; none after a sentence."""
        if not self._cut_in_speech or self._prefix or not self._history or self._history[-1].text[-1:] in ".?!":
            return ()
        return tuple(fold(w.text) for w in list(self._history)[-4:])

    def _units(self, pass_: Pass, result: PassResult) -> tuple[Unit, ...]:
        if self._by_segment:
            return tuple(Unit(s.text, None, result.no_speech) for s in result.segments)
        return tuple(
            Unit(
                w.text,
                w.probability,
                result.no_speech,
                None if w.attended_s is None else (pass_.seconds - w.attended_s) / FRAME_S,
            )
            for w in result.words
        )

    def _commit(self, pass_: Pass, result: PassResult, words: tuple[Word, ...], count: int) -> Commit:
        start = max(self._cut + round(words[0].start_s * SPEECH_RATE), self._committed_to)
        end_s = result.segments[count - 1].end_s if self._by_segment else words[-1].end_s
        cut = pass_.end if pass_.final else min(self._cut + round(end_s * SPEECH_RATE), pass_.end)
        # A partial pass leaves a little source for words that the next one finds in the same sound.
        end = max(cut if pass_.final else min(cut, pass_.end - _MARGIN), self._committed_to + 1)
        start = min(start, end - 1)
        known = [w.probability for w in words if w.probability is not None]
        confidence = sum(known) / len(known) if known else math.exp(min(result.log_probability, 0.0))
        self._words += len(words)
        self._committed_to = end
        if self._by_segment or pass_.final:
            self._history.extend((*self._prefix, *words))
            self._prefix = ()
            self._cut, self._cut_in_speech = cut, True
        else:
            self._prefix = (*self._prefix, *words)
        commit = Commit(
            self._next_commit,
            " ".join(w.text for w in words),
            start * 1000 / SPEECH_RATE,
            end * 1000 / SPEECH_RATE,
            pass_.audio_ms,
            self._settings.policy,
            round(confidence, 4),
        )
        self._next_commit += 1
        return commit

    def _cut_from(self) -> Word | None:
        """The word that a long phrase's buffer is to be cut after: the end of a committed sentence, or any committed
        word if it must."""
        held = self._heard_to - self._cut
        if held < TRIM_S * SPEECH_RATE or not self._prefix:
            return None
        ends = [w for w in self._prefix if w.text[-1:] in ".?!" and w.end_s > 2]
        if ends:
            return ends[-1]
        return self._prefix[-1] if held > TRIM_HARD_S * SPEECH_RATE else None

    def _trim(self) -> None:
        """Keep a long phrase's buffer short."""
        if (last := self._cut_from()) is not None:
            self._cut_at(last)
            self._language = phrase_ended(self._language)
        elif self._by_segment:
            self._forget(min(self._cut, self._passage_from))

    def _cut_at(self, last: Word) -> None:
        """Cut the audio after a word of the prefix; the words behind it stay as prefix of what is left."""
        at = self._prefix.index(last) + 1
        phrase = self._phrases[0]
        end = self._cut + round(last.end_s * SPEECH_RATE)
        position = quietest(phrase, end - SPEECH_RATE // 4, end + SPEECH_RATE // 4, end)
        position = min(max(position, self._cut), self._heard_to)
        shift = (position - self._cut) / SPEECH_RATE
        begin = self._prefix[0].lead
        self._history.extend(self._prefix[:at])
        rest = [
            replace(w, start_s=max(w.start_s - shift, 0.0), end_s=max(w.end_s - shift, 0.0), lead=())
            for w in self._prefix[at:]
        ]
        if rest:
            rest[0] = replace(rest[0], lead=begin)
        self._prefix = tuple(rest)
        self._cut, self._cut_in_speech = position, True
        phrase.forget(position)
        self._forget(min(position, self._passage_from))
