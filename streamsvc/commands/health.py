"""`streamsvc health`: whether the service of these settings is well, for healthchecks of containers and the like."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import ssl
from pathlib import Path
from typing import Any

from streamsvc import config
from streamsvc.flags import UsageError, within, write_json

ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
MAX_ANSWER = 1 << 20


def run(arguments: argparse.Namespace) -> int:
    """Ask the service that runs here with the same settings how it is; exit status 0 when it is well, 1 when it isn't
    or nothing answers. Settings are read as `streamsvc serve` reads them: the file, the environment, flags."""
    flags = {
        "server.host": arguments.host,
        "server.port": arguments.port,
        "server.tls_cert": arguments.tls_cert,
        "server.tls_key": arguments.tls_key,
    }
    server = config.load(arguments.config, os.environ, flags).server
    if server.port == 0:
        raise UsageError("server.port is 0, any free one: say with --port which one the service found")
    host = ANYWHERE.get(server.host, server.host)
    url = f"{'https' if server.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{server.port}/healthz"
    try:
        well, words, told = judge(*_ask(host, server.port, server.tls, arguments.timeout))
    except (OSError, http.client.HTTPException) as e:
        well, words, told = False, f"nothing answers as a service: {_reason(e)}", {}
    print(f"{'well' if well else 'not well'}: {url}: {words}")
    write_json(arguments.json, {"url": url, "well": well, "words": words, "healthz": told})
    return 0 if well else 1


def judge(status: int, body: bytes) -> tuple[bool, str, dict[str, Any]]:
    """Return whether an answer of /healthz is that of a service that is well, that in words, and what it told."""
    try:
        told = json.loads(body)
        up, people, rooms = bool(told["worker"]["up"]), int(told["participants"]), int(told["rooms"])
    except (ValueError, KeyError, TypeError):
        return False, f"what answers is no streamsvc (status {status})", {}
    if status == 200 and told.get("ok") is True:
        return True, f"participants: {people}, rooms: {rooms}", told
    return False, "it takes no calls" if up else "its worker is down; its log says why", told


def _ask(host: str, port: int, tls: bool, timeout_s: float) -> tuple[int, bytes]:
    """Return status and body of /healthz; raises OSError or HTTPException."""
    connection = (
        http.client.HTTPSConnection(host, port, timeout=timeout_s, context=_context(host))
        if tls
        else http.client.HTTPConnection(host, port, timeout=timeout_s)
    )
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        return answer.status, answer.read(MAX_ANSWER)
    finally:
        connection.close()


def _context(host: str) -> ssl.SSLContext:
    """Return the client's side of TLS. A certificate is for the name that others use: on this machine's own loopback,
    where nobody is between, any is taken."""
    context = ssl.create_default_context()
    if config.is_loopback(host):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return getattr(error, "verify_message", "") or error.reason or "no TLS"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return type(error).__name__


def add_flags(p: argparse.ArgumentParser) -> None:
    """Add the command's flags."""
    p.add_argument("--config", type=Path, metavar="F", help="settings file, TOML; this and the next as for serve")
    p.add_argument("--host", help="address that it listens on (127.0.0.1)")
    p.add_argument("--port", type=int, help="TCP port (8080)")
    p.add_argument("--tls-cert", type=Path, metavar="F", help="certificate chain, PEM: it serves HTTPS")
    p.add_argument("--tls-key", type=Path, metavar="F", help="private key of the certificate, PEM")
    p.add_argument("--timeout", type=within(0.1, 600), default=4.0, metavar="S", help="longest wait (%(default)s s)")
