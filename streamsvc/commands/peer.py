"""`streamsvc peer`: a participant without a browser."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from streamsvc.flags import VIEW_MODES, check_files, pairs, parameters, size, within, write_json


def run(arguments: argparse.Namespace) -> int:
    """Take part in a call without a browser."""
    from streamsvc.frames import load_rig
    from streamsvc.frames.glossary import read_glossary
    from streamsvc.peer import HeadlessPeer, PeerOptions
    from streamsvc.signalling.messages import AppearanceSettings, SpeechSettings, ViewSettings
    from streamsvc.signalling.rooms import check_room

    check_room(arguments.room)
    check_files(arguments, folders=("save",), reads=(arguments.rig, arguments.glossary))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    options = PeerOptions(
        url=arguments.url,
        room=arguments.room,
        name=arguments.name,
        token=arguments.token or os.environ.get("STREAMSVC_TOKEN"),
        mirror=arguments.mirror,
        rig=None if arguments.rig is None else load_rig(arguments.rig),
        cameras=pairs(arguments.camera, "--camera"),
        mic=arguments.mic,
        size=arguments.size,
        fps=arguments.fps,
        eye=arguments.eye,
        speech=SpeechSettings(
            policy=arguments.policy,
            parameters=parameters(arguments.set) or None,
            source=arguments.source,
            glossary=list(read_glossary(arguments.glossary)) if arguments.glossary else None,
            voice=arguments.voice,
        ),
        view=ViewSettings(
            width=arguments.size[0], height=arguments.size[1], budget_ms=arguments.budget, mode=arguments.view_mode
        ),
        appearance=AppearanceSettings(backdrop=arguments.backdrop),
        save=arguments.save,
        insecure=arguments.insecure,
        agrees=arguments.agree_to_recording,
    )
    figures = asyncio.run(_until_signalled(HeadlessPeer(options, lambda c: print(c.text, flush=True)), arguments))
    # Of the latest, like the captions: who stays for weeks keeps no more.
    latencies = sorted((shown - captured) / 1e6 for captured, shown in figures.views)
    summary = {
        "captured": figures.captured,
        "views": figures.viewed,
        "latency_p50_ms": latencies[len(latencies) // 2] if latencies else None,
        "latency_p95_ms": latencies[len(latencies) * 95 // 100] if latencies else None,
        "clock_error_ms": None if figures.clock_error_ns is None else figures.clock_error_ns / 1e6,
        "captions": [c.text for c in figures.captions],
        "notices": figures.notices,
    }
    write_json(arguments.json, summary)
    print(f"{summary['captured']} frame sets captured, {summary['views']} views seen", file=sys.stderr)
    return 0


async def _until_signalled(peer: Any, arguments: argparse.Namespace) -> Any:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return await peer.run(arguments.duration, stop)


def add_flags(p: argparse.ArgumentParser) -> None:
    """Add the command's flags."""
    p.add_argument("url", metavar="URL", help="address of the service, e.g. http://127.0.0.1:8080")
    p.add_argument("--room", required=True, help="name of the room")
    p.add_argument("--name", default="peer", help="name that others see (%(default)s)")
    p.add_argument("--token", help="token, where the service asks for one (or STREAMSVC_TOKEN)")
    p.add_argument("--mirror", action="store_true", help="a mirror room: see and hear yourself")
    p.add_argument("--rig", type=Path, metavar="F", help="rig.json of the cameras; a synthetic scene brings its own")
    p.add_argument(
        "--camera", action="append", metavar="NAME=SOURCE", help="file, device or synthetic:SCENE; repeatable"
    )
    p.add_argument("--mic", metavar="SOURCE", help="file, device, or synthetic:LANGUAGE[:SECONDS]")
    p.add_argument("--size", type=size, default=(640, 480), help="of synthetic cameras and of the view (640x480)")
    p.add_argument("--fps", type=within(1, 120), default=15.0, help="of synthetic cameras (%(default)g)")
    p.add_argument("--eye", default="still", help="still, sway, or x,y,z in world metres (%(default)s)")
    p.add_argument("--budget", type=within(20, 5000), metavar="MS", help="latency budget from capture to display")
    p.add_argument("--view-mode", metavar="MODE", help=VIEW_MODES)
    p.add_argument("--backdrop", help="what others see behind you: room, blur or #rrggbb (room)")
    p.add_argument("--policy", help="speak policy")
    p.add_argument("--set", action="append", metavar="K=V", help="parameter of the policy; repeatable")
    p.add_argument("--source", help="spoken language, or auto")
    p.add_argument("--glossary", type=Path, metavar="F", help="names and terms to spell like this, one a line")
    p.add_argument("--voice", help="voice that speaks for you, of those the service has (the one nearest to yours)")
    p.add_argument("--save", type=Path, metavar="DIR", help="save view.mp4, speech.wav, captions and transcript there")
    p.add_argument("--agree-to-recording", action="store_true", help="let others record the call; otherwise say no")
    p.add_argument("--duration", type=within(0.1, 1e7), metavar="S", help="seconds to take part (until interrupted)")
    p.add_argument("--insecure", action="store_true", help="accept a self-signed certificate")
