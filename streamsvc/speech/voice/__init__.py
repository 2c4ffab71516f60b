"""A synthesised voice: committed text in, clauses of 48 kHz speech out. Engines run in processes of their own."""

from streamsvc.speech.voice.engine import Engine, PiperEngine, open_voice, voice_missing
from streamsvc.speech.voice.schedule import Clause, Schedule
from streamsvc.speech.voice.sound import RoomTone
from streamsvc.speech.voice.voice import SpeechChunk, Voice

__all__ = [
    "Clause",
    "Engine",
    "PiperEngine",
    "RoomTone",
    "Schedule",
    "SpeechChunk",
    "Voice",
    "open_voice",
    "voice_missing",
]
