"""Voice in, English voice out: Whisper, speak policies and a synthesised voice. Knows nothing of WebRTC."""

from streamsvc.speech.errors import AudioError, PolicyError, SpeechError, VoiceError
from streamsvc.speech.events import Commit, Event, InterpretSettings, TentativeText
from streamsvc.speech.interpreter import Interpreter
from streamsvc.speech.passes import Pass, PassResult
from streamsvc.speech.policies import DEFAULT_POLICY, describe
from streamsvc.speech.translator import Translator
from streamsvc.speech.voice import PiperEngine, SpeechChunk, Voice, voice_missing

__all__ = [
    "DEFAULT_POLICY",
    "AudioError",
    "Commit",
    "Event",
    "InterpretSettings",
    "Interpreter",
    "Pass",
    "PassResult",
    "PiperEngine",
    "PolicyError",
    "SpeechChunk",
    "SpeechError",
    "TentativeText",
    "Translator",
    "Voice",
    "VoiceError",
    "describe",
    "voice_missing",
]
