"""The errors of this room: what was wrong with a model, a policy, a sound file or the voice, and what is accepted."""

from __future__ import annotations

from streamsvc.errors import StreamsvcError


class SpeechError(StreamsvcError):
    """Bad input to the interpreter, or a model that can't be used."""


class PolicyError(SpeechError):
    """A policy or a parameter that doesn't exist or is out of its range."""


class AudioError(SpeechError):
    """A file that holds no usable sound."""


class VoiceError(SpeechError):
    """The voice can't speak; captions are unaffected."""


class UnsayableError(VoiceError):
    """The voice can't say this one text; the next may be all right."""
