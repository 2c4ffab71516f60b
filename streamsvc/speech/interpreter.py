"""One speaker's interpreter: audio in, passes out, committed English back. No thread, no clock, no model of its own.

    feed(samples) ... next_pass() -> run its slices -> finish(pass, result) -> events; end() at the end of the stream
    news() -> events that came of no pass

Invariants:
- a committed word is never changed, repeated or lost; source intervals are half-open, in order and don't overlap;
- at most one pass is outstanding; a partial pass that is abandoned isn't queued, a flush stays due;
- a phrase end (voice activity) and the end of the stream flush everything, for every policy, and clear its state;
- silence makes no pass; a phrase without a pause is cut before `MAX_BUFFER_S`;
- speech that is too late is left out, and told (see `Backlog`), so the buffer is bounded.

By words (the default) a pass sees the whole phrase and continues from the committed words (forced prefix). By segments
(the paper's way) the audio is cut at the end of the last committed segment instead.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np

from streamsvc.frames.audio import SPEECH_RATE, Samples
from streamsvc.speech.backlog import Backlog
from streamsvc.speech.batcher import Batcher
from streamsvc.speech.buffer import SoundBuffer
from streamsvc.speech.errors import SpeechError
from streamsvc.speech.events import Commit, Event, InterpreterStatistics, InterpretSettings, LeftOut, TentativeText
from streamsvc.speech.languages import LanguageState, phrase_ended
from streamsvc.speech.pace import Pace
from streamsvc.speech.passages import OpenPassage
from streamsvc.speech.passes import FLUSH_BEAM, PROMPT_LENGTHS, Pass, PassResult, moved, quantised_prompt
from streamsvc.speech.policies import Policy, State, find_policy
from streamsvc.speech.terms import Terms, terms_of
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
        self._translator, self._batcher = translator, batcher or Batcher(translator)
        self._settings = settings.changed()
        self._terms = terms_of(settings.glossary, translator)
        self._wanted: tuple[InterpretSettings, Terms] | None = None
        self._detector = detector or VoiceActivity()
        self._tracker = PhraseTracker(self._settings.parameters["phrase_timeout"])
        self._sound = SoundBuffer()
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
        self._pace = Pace()
        self._committed_to = 0
        self._beam = FLUSH_BEAM
        self._failures = 0
        self._prompt_dropped = False
        self._tentative = ""
        self._next_commit = 0
        self._passage = OpenPassage()
        self._news: list[Event] = []
        self._backlog = Backlog()
        self._passes = self._abandoned = self._rejected = 0

    # What goes in.

    def feed(self, samples: Samples) -> None:
        """Take (n,) float32 16 kHz mono samples that follow the ones before; any n."""
        if self._ended:
            raise SpeechError("the stream has ended; no more audio is accepted")
        block = np.nan_to_num(np.asarray(samples, np.float32).reshape(-1), nan=0.0, posinf=1.0, neginf=-1.0)
        self._sound.append(np.clip(block, -1.0, 1.0))
        for probability in self._detector.feed(block):
            phrase = self._tracker.push(probability)
            if phrase is not None:
                self._phrases.append(phrase)
                if len(self._phrases) == 1:
                    self._enter(phrase)
        if not self._phrases and not self._outstanding:
            self._sound.forget(self._fed - PREROLL - (ONSET_CHUNKS + 1) * CHUNK)

    def pause(self) -> bool:
        """Say that sound has stopped coming: the phrase is over, as after silence. Return whether there was one."""
        return self._tracker.close(self._fed)

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
        new = self.settings.changed(policy, parameters, source, target, glossary)
        self._wanted = new, terms_of(new.glossary, self._translator)
        self._apply()

    @property
    def settings(self) -> InterpretSettings:
        """The settings in force (or about to be, when a pass is outstanding), every parameter filled in."""
        return self._settings if self._wanted is None else self._wanted[0]

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
        held = (self._fed - self._sound.start) / SPEECH_RATE
        return InterpreterStatistics(self._passes, self._rejected, held, self._backlog.left_out / SPEECH_RATE)

    # What comes out.

    def news(self) -> list[Event]:
        """Return what came of no pass since the last call: speech left out, and what ended with a phrase that had
        nothing left to decode."""
        news, self._news = self._news, []
        return news

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
            left = phrase.speech_end - self._cut > CHUNK * ONSET_CHUNKS
            if left and not self._backlog.leaves_out(phrase.end, self._fed):
                return self._issue(end, final=True)
            self._pass_over(phrase, left)
        return None

    def finish(self, pass_: Pass, result: PassResult) -> list[Event]:
        """Take the result of the outstanding pass; return what is committed by it and the new tentative text."""
        self._close(pass_)
        events: list[Event] = []
        self._passes += 1
        if pass_.source == self._settings.source:
            self._language = result.language_state
        self._prompt_dropped |= result.prompt_dropped
        rejected = result.no_speech > self._settings.no_speech_threshold
        self._rejected += rejected
        tentative, waiting = "", result.words
        if not rejected:
            units = result.units(pass_.seconds, self._by_segment)
            count = len(units)
            if not pass_.final:
                count, self._state = self._policy.decide(self._state, units, self._settings.parameters)
            if self._by_segment:
                taken = tuple(w for s in result.segments[:count] for w in s.words)
            else:
                taken = result.words[:count]
            if taken:
                said_to = self._committed_to
                commit = self._commit(pass_, result, taken, count)
                if not self._passage.has_room(pass_.end if pass_.final else self._committed_to):
                    events += self._close_passage(said_to)
                self._passage.add(commit, result.language)
                events.append(commit)
            waiting = result.words[len(taken) :]
            tentative = " ".join(w.text for w in waiting)
        if pass_.final:
            events += self._close_passage(pass_.end)
            self._leave(self._phrases[0])
        else:
            self._heard_to = pass_.end
            self._pace.passed(bool(events))
            long = self._by_segment and self._committed_to - self._passage.start > TRIM_S * SPEECH_RATE
            if long or self._cut_from() is not None:
                events += self._close_passage(self._committed_to)
            self._trim(waiting)
        events += self._maybe(tentative)
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
        return self._sound.end

    @property
    def _policy(self) -> Policy:
        return find_policy(self._settings.policy)

    @property
    def _by_segment(self) -> bool:
        return bool(self._settings.parameters.get("segments", 0))

    def _close_passage(self, end: int) -> list[Event]:
        """Return what was said since the last passage as one that ends at `end`, unless nothing can be corrected: a
        policy that waits for the phrase has heard all of it already."""
        passages = self._passage.close(end, self._sound, self._terms)
        return [] if self._policy.waits else [*passages]

    def _maybe(self, tentative: str) -> list[Event]:
        """Return the tentative text if it is another than before."""
        before, self._tentative = self._tentative, tentative
        return [] if tentative == before else [TentativeText(tentative)]

    def _pass_over(self, phrase: Phrase, left: bool) -> None:
        """Close a phrase without a flush; speech that is `left` in it is left out."""
        if left:
            self._backlog.left_out += phrase.speech_end - self._cut
            self._news.append(LeftOut(self._cut * 1000 / SPEECH_RATE, phrase.speech_end * 1000 / SPEECH_RATE))
        self._news += self._close_passage(self._committed_to)
        self._news += self._maybe("")
        self._leave(phrase)
        self._cut_in_speech &= not left

    def _enter(self, phrase: Phrase) -> None:
        self._cut = self._heard_to = phrase.start
        self._pace.begin(continues=self._cut_in_speech)
        self._passage.begin(phrase.start)
        self._sound.forget(phrase.start)

    def _leave(self, phrase: Phrase) -> None:
        """Close the phrase: everything it held is committed or rejected."""
        self._phrases.popleft()
        self._history.extend(self._prefix)
        self._prefix, self._state = (), ()
        self._prompt_dropped = False
        self._beam, self._failures = FLUSH_BEAM, 0
        assert phrase.end is not None
        self._cut = phrase.end
        self._cut_in_speech = bool(self._phrases) and self._phrases[0].continues
        if not self._cut_in_speech:
            self._language = phrase_ended(self._language)
        if self._phrases:
            self._enter(self._phrases[0])
        else:
            self._backlog.caught_up()
            self._sound.forget(self._cut)

    def _partial(self, phrase: Phrase, end: int) -> Pass | None:
        if self._policy.waits or self._backlog.behind or phrase.speech_end <= self._cut:
            return None
        grown = end - max(self._heard_to, self._cut)
        return self._issue(end, final=False) if grown >= self._pace.samples(self._settings.parameters) else None

    def _issue(self, end: int, *, final: bool) -> Pass:
        settings, policy, state = self._settings, self._policy, self._state
        terms, limit = self._terms, int(settings.parameters["context"])
        if self._prompt_dropped:
            terms, limit = Terms(), 0
        prompt, prompt_words = quantised_prompt(self._history, min(limit, PROMPT_LENGTHS[-1] - len(terms.tokens)))
        if final:
            beam = 1 if self._backlog.presses(self._due(end), self._fed) else self._beam
        else:
            beam = int(settings.parameters["beam"])
        self._outstanding = Pass(
            id=self._passes + self._abandoned,
            final=final,
            audio=self._sound.read(self._cut, end),
            start=self._cut,
            end=end,
            read=self._fed,
            translator=self._translator,
            batcher=self._batcher,
            source=settings.source,
            language_state=self._language,
            prefix=self._prefix,
            prompt=(*terms.tokens, *prompt),
            prompt_words=prompt_words,
            glossary=terms.words,
            said=self._said_before_cut(),
            no_speech_threshold=settings.no_speech_threshold,
            beam=beam,
            commits=lambda units: policy.decide(state, units, settings.parameters)[0],
            by_segment=self._by_segment,
            aligned=policy.aligned,
        )
        return self._outstanding

    def _close(self, pass_: Pass) -> None:
        if self._outstanding is not pass_:
            raise SpeechError(f"pass {pass_.id} isn't outstanding")
        self._outstanding = None
        self._backlog.ended(self._due(pass_.end) if pass_.final else pass_.end, self._fed)

    def _due(self, end: int) -> int:
        """When the flush of a phrase that ended at `end` was due."""
        return end + int(self._settings.parameters["phrase_timeout"] * SPEECH_RATE)

    def _apply(self) -> None:
        if self._wanted is None or self._outstanding is not None:
            return
        old, (self._settings, self._terms), self._wanted = self._settings, self._wanted, None
        self._tracker.timeout_s = self._settings.parameters["phrase_timeout"]
        if old.policy != self._settings.policy or old.parameters != self._settings.parameters:
            self._state = ()
            if self._by_segment and self._prefix:
                self._cut_at(self._prefix[-1], self._cut + round(self._prefix[-1].end_s * SPEECH_RATE))
        if old.source != self._settings.source:
            self._language = LanguageState()

    def _said_before_cut(self) -> tuple[str, ...]:
        """The last words before a cut through running speech, which the model may hear twice; none after a sentence."""
        if not self._cut_in_speech or self._prefix or not self._history or self._history[-1].text[-1:] in ".?!":
            return ()
        return tuple(fold(w.text) for w in list(self._history)[-4:])

    def _commit(self, pass_: Pass, result: PassResult, words: tuple[Word, ...], count: int) -> Commit:
        start = max(self._cut + round(words[0].start_s * SPEECH_RATE), self._committed_to)
        end_s = result.segments[count - 1].end_s if self._by_segment else words[-1].end_s
        cut = pass_.end if pass_.final else min(self._cut + round(end_s * SPEECH_RATE), pass_.end)
        # A flush reads some silence too; a partial pass leaves a little source for words that the next one finds in the
        # same sound.
        end = min(cut, self._phrases[0].speech_end if pass_.final else pass_.end - _MARGIN)
        end = max(end, self._committed_to + 1)
        start = min(start, end - 1)
        known = [w.probability for w in words if w.probability is not None]
        confidence = sum(known) / len(known) if known else math.exp(min(result.log_probability, 0.0))
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

    def _trim(self, waiting: Sequence[Word]) -> None:
        """Keep a long phrase's buffer short; `waiting` is what this pass heard after the committed words."""
        if (last := self._cut_from()) is not None:
            after = (*self._prefix[self._prefix.index(last) + 1 :], *waiting)
            latest_s = min(last.end_s + 0.25, after[0].start_s) if after else last.end_s + 0.25
            self._cut_at(last, self._cut + round(latest_s * SPEECH_RATE))
            self._language = phrase_ended(self._language)
        elif self._by_segment:
            self._sound.forget(min(self._cut, self._passage.start))

    def _cut_at(self, last: Word, latest: int) -> None:
        """Cut the audio after a word of the prefix, where it is quiet: from a quarter of a second before the word's end
        to `latest`; the words behind it stay as prefix of what is left."""
        at = self._prefix.index(last) + 1
        phrase = self._phrases[0]
        end = min(self._cut + round(last.end_s * SPEECH_RATE), latest)
        # Of less than half of it nothing is heard again.
        middle = self._cut + round((last.start_s + last.end_s) / 2 * SPEECH_RATE)
        position = quietest(phrase, max(end - SPEECH_RATE // 4, middle), latest, end)
        position = min(max(position, self._cut), self._heard_to)
        shift = (position - self._cut) / SPEECH_RATE
        self._history.extend(self._prefix[:at])
        self._prefix = moved(self._prefix[at:], shift, self._prefix[0].lead)
        self._cut, self._cut_in_speech = position, True
        phrase.forget(position)
        self._sound.forget(min(position, self._passage.start))
