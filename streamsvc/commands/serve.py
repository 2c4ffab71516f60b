"""`streamsvc serve`: the service."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
from pathlib import Path

from streamsvc import config
from streamsvc.flags import add_extra_stage, check_files, write_json


def _settings(arguments: argparse.Namespace) -> config.Settings:
    flags = {
        "server.host": arguments.host,
        "server.port": arguments.port,
        "server.token_file": arguments.token_file,
        "server.tls_cert": arguments.tls_cert,
        "server.tls_key": arguments.tls_key,
        "ledger.path": arguments.ledger,
        "recording.folder": arguments.record,
        "view.device": arguments.device,
        "view.encoder": arguments.encoder,
        "view.max_mbps": arguments.max_mbps,
        "speech.enabled": False if arguments.no_speech else None,
        "limits.admission": False if arguments.no_admission else None,
        "log.level": arguments.log_level,
    }
    settings = config.load(arguments.config, os.environ, flags)
    logging.basicConfig(level=settings.log.level.upper(), format="%(levelname)s %(name)s: %(message)s")
    for talkative in ("aioice", "aiortc"):  # they log candidates, which are people's addresses
        logging.getLogger(talkative).setLevel(logging.WARNING)
    return settings


def run(arguments: argparse.Namespace) -> int:
    """Run the service until it is told to stop."""
    if arguments.example_config:
        print(config.example(), end="")
        return 0
    from streamsvc import service

    check_files(
        arguments,
        makes=("ledger",),
        folders=("record",),
        reads=(arguments.config, arguments.token_file, arguments.tls_cert, arguments.tls_key),
    )
    settings = _settings(arguments)

    def announce(port: int) -> None:
        urls = service.addresses(settings, port)
        print(f"streamsvc is ready: {'  '.join(urls)}", flush=True)
        write_json(arguments.json, {"port": port, "urls": urls, "pid": os.getpid()})

    asyncio.run(service.serve(settings, announce, extra_stage_ms=arguments.extra_stage_ms))
    return 0


def add_flags(p: argparse.ArgumentParser) -> None:
    """Add the command's flags."""
    p.add_argument("--host", help="address to listen on (127.0.0.1; 0.0.0.0 for every interface)")
    p.add_argument("--port", type=int, help="TCP port (8080; 0 takes any free one)")
    p.add_argument("--config", type=Path, metavar="F", help="settings file, TOML")
    p.add_argument("--example-config", action="store_true", help="print such a file with every setting, and end")
    p.add_argument("--token-file", type=Path, metavar="F", help="one token a line; nobody joins without one")
    p.add_argument("--tls-cert", type=Path, metavar="F", help="certificate chain, PEM: serves HTTPS")
    p.add_argument("--tls-key", type=Path, metavar="F", help="private key of the certificate, PEM")
    p.add_argument("--ledger", type=Path, metavar="F", help="append a JSON line for every frame set and speech pass")
    p.add_argument("--record", type=Path, metavar="DIR", help="let calls be recorded there, where everybody agrees")
    p.add_argument("--device", choices=("cpu", "cuda"), help="where views are computed (cpu)")
    p.add_argument(
        "--encoder",
        metavar="NAME",
        help="of H.264: auto (hardware where it works), software, or FFmpeg's name of hardware, such as h264_nvenc",
    )
    p.add_argument("--max-mbps", type=float, metavar="MBPS", help="most that a view may take (what its size needs)")
    p.add_argument("--no-speech", action="store_true", help="do not translate; voices pass through")
    p.add_argument("--no-admission", action="store_true", help="take everybody, even where calls then suffer")
    p.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="least severe message told")
    add_extra_stage(p)
