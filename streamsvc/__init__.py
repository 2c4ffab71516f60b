"""Real-time telepresence over WebRTC: see from your own eye position, hear in English, under a latency budget."""

import os

__version__ = "0.1.0"

# ONNX Runtime, which the voices and the voice activity run on, tells its maker about the machine unless this is said
# before it is loaded, in whichever process that is.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
