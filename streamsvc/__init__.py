"""Real-time telepresence over WebRTC: see from your own eye position, hear in English, under a latency budget."""

import os

__version__ = "0.1.0"

# ONNX Runtime, which the voices and the voice activity run on, tells its maker about the machine unless this is said
# before it is loaded, in whichever process that is.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# oneDNN, under torch and CTranslate2, keeps what it made for each of the last 1024 sizes that it met: for sounds of all
# lengths that is over 300 MiB. With 32 a net on one rung makes everything anew, with 256 one on several doesn't.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
