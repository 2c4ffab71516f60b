"""Runs one rival of `bench services`: `python serve.py MODULE --stage-ms S --size WxH --fps F`.

Run by path in the rival's own environment; nothing in this folder imports streamsvc. MODULE, a file beside this one,
has `application(job) -> (ASGI application, path to post offers to)`. Once it listens, on a free port of the loopback
interface, one line of JSON on standard output says where, and which versions of what it runs. Ends when standard input
does, so that it never outlives who started it.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import socket
import sys
import threading
from dataclasses import dataclass
from importlib import metadata

import uvicorn


@dataclass(frozen=True)
class Job:
    """What to do with every picture: `stage_s` seconds of a device's time; pictures are `width` x `height`, `fps` a
    second."""

    stage_s: float
    width: int
    height: int
    fps: float

    @property
    def rate(self) -> float:
        """How many pictures a second such a device can take, at most those that come."""
        return self.fps if self.stage_s * self.fps <= 1 else 1 / self.stage_s


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("--stage-ms", type=float, required=True)
    parser.add_argument("--size", required=True)
    parser.add_argument("--fps", type=float, required=True)
    parser.add_argument("--package", action="append", required=True)
    arguments = parser.parse_args()
    width, height = (int(side) for side in arguments.size.split("x"))
    job = Job(arguments.stage_ms / 1000, width, height, arguments.fps)
    app, path = importlib.import_module(arguments.module).application(job)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", loop="asyncio", ws="none"))

    def wait_for_the_end() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    said = {
        "url": f"http://127.0.0.1:{listener.getsockname()[1]}{path}",
        "versions": {name: metadata.version(name) for name in arguments.package},
    }
    print(json.dumps(said), flush=True)
    asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    main()
