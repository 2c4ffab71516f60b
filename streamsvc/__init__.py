"""Real-time telepresence over WebRTC: see from your own eye position, hear in English, under a latency budget."""

__version__ = "0.1.0"
