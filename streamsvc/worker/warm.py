"""What happens before a worker says it is ready: kernels compiled, the model loaded, one pass of each stage run.

A part that can't be had leaves a note instead of stopping the worker, and the call then goes on with less; unless it
was named.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from streamsvc.errors import StreamsvcError
from streamsvc.frames import SPEECH_RATE, Camera, Rig, link
from streamsvc.speech import Translator
from streamsvc.speech.errors import SpeechError
from streamsvc.speech.languages import check_languages
from streamsvc.speech.model import Whisper
from streamsvc.speech.policies import describe, resolve
from streamsvc.speech.voice import AUTO, Engine, SpeechChunk, Voice, VoiceSet, open_voice, open_voices
from streamsvc.view import ViewSynthesizer, warm_up
from streamsvc.view.gpu import check_device
from streamsvc.view.net import open_net

if TYPE_CHECKING:
    from streamsvc.view.net.geometry import NetGeometry

log = logging.getLogger(__name__)

VoiceFactory = Callable[[Callable[[SpeechChunk], None], Callable[[str], None]], Voice]


@dataclass(slots=True)
class SpeechParts:
    """What speech streams are made of; `translator` None means that there is no speech on this worker, `engine` is the
    voice where all speakers have the same."""

    translator: Translator | None = None
    voice: VoiceFactory | None = None
    engine: Engine | None = None
    policies: list[dict[str, Any]] = field(default_factory=list)
    voices: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ViewParts:
    """What views are made with: the net, if there is one, and the ladder for two cameras as a table."""

    net: NetGeometry | None
    rungs: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)


def warm_views(settings: link.WorkerSettings) -> ViewParts:
    """Load the net, compile every kernel of the view, and describe the ladder for two cameras and a view of 320x240.

    Raises ViewError when the device isn't there.
    """
    net, notes = None, []
    if settings.device != "cpu":
        check_device(settings.device)
    try:
        net = open_net(device=settings.device)
    except StreamsvcError as e:
        log.warning("%s", e)
        notes.append(str(e))
    log.info("the view is warm after %.1f s", warm_up(net, settings.device))
    K = np.array([[300.0, 0, 159.5], [0, 300.0, 119.5], [0, 0, 1]])
    cameras = [
        Camera(n, 320, 240, K, np.zeros(5), np.eye(3), np.array([x, 0.0, 0.0])) for n, x in (("a", 0), ("b", -0.1))
    ]
    rig = Rig(tuple(cameras), (("a", "b"),), (0.5, 3.0))
    ladder = ViewSynthesizer(rig, 320, 240, device=settings.device, net=net).ladder
    return ViewParts(net, [asdict(r) for r in ladder], notes)


def check_speech(settings: link.WorkerSettings) -> None:
    """Raise SpeechError when what callers start with is nothing that can be interpreted."""
    if settings.speech:
        resolve(settings.policy, settings.parameters)
        check_languages(settings.source, settings.target)


def load_speech(settings: link.WorkerSettings) -> SpeechParts:
    """Load the model and find a voice; raises SpeechError when one that is named can't be used."""
    parts = SpeechParts()
    if not settings.speech:
        return parts
    try:
        translator = Whisper(settings.model, settings.speech_device, lambda text: log.info("%s", text))
        encoded = translator.encode(np.zeros(SPEECH_RATE, np.float32))
        translator.identify(encoded)
    except StreamsvcError as e:
        if settings.model is not None:
            raise SpeechError(f"speech.model, {settings.model}: {e}") from None
        log.warning("no speech translation: %s", e)
        parts.notes.append(f"no speech translation: {e}")
        return parts
    parts.translator, parts.policies = translator, describe()
    try:
        # The same processes for all speakers, ready before the first word.
        voices: Engine | VoiceSet = open_voices() if settings.voice == AUTO else open_voice(settings.voice)
        voices.start()
    except StreamsvcError as e:
        if settings.voice is not None:
            raise SpeechError(f"speech.voice, {settings.voice}: {e}") from None
        log.warning("captions only: %s", e)
        parts.notes.append(f"captions only: {e}")
        return parts
    parts.voice = voices_of(voices)
    parts.engine = voices if not isinstance(voices, VoiceSet) else None
    parts.voices = list(voices.engines) if isinstance(voices, VoiceSet) else []
    return parts


def voices_of(voices: Engine | VoiceSet) -> VoiceFactory:
    """Return what gives every speaker a voice: all the same engine, or each the one of a set that matches them."""

    def make(on_speech: Callable[[SpeechChunk], None], on_trouble: Callable[[str], None]) -> Voice:
        if isinstance(voices, VoiceSet):
            matched = voices.matched()
            return Voice(on_speech, on_trouble, engine=matched, listener=matched.hear, choose=matched.choose)
        return Voice(on_speech, on_trouble, engine=voices)

    return make
