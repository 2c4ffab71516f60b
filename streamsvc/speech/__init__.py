"""Voice in, English voice out: Whisper, speak policies and a synthesised voice. Knows nothing of WebRTC."""

from streamsvc.speech.errors import AudioError, PolicyError, SpeechError, VoiceError
from streamsvc.speech.interpreter import Commit, Event, Interpreter, InterpretSettings, TentativeText
from streamsvc.speech.passes import Pass, PassResult
from streamsvc.speech.translator import Translator

__all__ = [
    "AudioError",
    "Commit",
    "Event",
    "InterpretSettings",
    "Interpreter",
    "Pass",
    "PassResult",
    "PolicyError",
    "SpeechError",
    "TentativeText",
    "Translator",
    "VoiceError",
]
