"""A synthesised voice: committed text in, clauses of 48 kHz speech out. Engines run in processes of their own."""

from streamsvc.speech.voice.engine import Engine, KokoroEngine, PiperEngine, VoiceProcess, voice_missing
from streamsvc.speech.voice.installed import AUTO, installed_voices, open_voice, open_voices, voices_to_match
from streamsvc.speech.voice.matching import MatchedVoice, VoiceSet
from streamsvc.speech.voice.schedule import Clause, Schedule
from streamsvc.speech.voice.sound import RoomTone
from streamsvc.speech.voice.voice import SpeechChunk, Voice

__all__ = [
    "AUTO",
    "Clause",
    "Engine",
    "KokoroEngine",
    "MatchedVoice",
    "PiperEngine",
    "RoomTone",
    "Schedule",
    "SpeechChunk",
    "Voice",
    "VoiceProcess",
    "VoiceSet",
    "installed_voices",
    "open_voice",
    "open_voices",
    "voice_missing",
    "voices_to_match",
]
