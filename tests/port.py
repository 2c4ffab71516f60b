"""A port over the fake hub, for real: uvicorn on loopback, and plain HTTP requests to it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fakehub import FakeHub
from websockets.asyncio.client import ClientConnection, connect

from streamsvc.config import Settings
from streamsvc.signalling.client import SignallingClient
from streamsvc.signalling.listener import reserve, run_server
from streamsvc.signalling.messages import Error, Join, decode_server
from streamsvc.signalling.server import create_app

JOIN = Join(room="lab", name="Ana")


class Service:
    """A running port."""

    def __init__(self, hub: FakeHub, port: int, stop: asyncio.Event, task: asyncio.Task[None], app: Any) -> None:
        self.hub = hub
        self.port = port
        self.stop = stop
        self.task = task
        self.app = app
        self.url = f"http://127.0.0.1:{port}"

    def client(self, **more: Any) -> SignallingClient:
        return SignallingClient(self.url, **more)

    def raw(self, **more: Any) -> connect:
        return connect(f"ws://127.0.0.1:{self.port}/ws", proxy=None, max_size=None, **more)


@contextlib.asynccontextmanager
async def serving(
    web: Path, settings: Settings | None = None, hub: FakeHub | None = None, health: dict[str, Any] | None = None
) -> AsyncIterator[Service]:
    settings = settings or Settings()
    hub = hub or FakeHub()
    app = create_app(
        hub, settings, web=web, metrics=lambda: b"streamsvc_up 1\n", health=lambda: health or {"ok": True, "v": "1"}
    )
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    server = settings.server
    reserved = reserve(server.host, 0, server.tls_cert, server.tls_key)
    task = asyncio.create_task(run_server(app, reserved, port.set_result, stop))
    await asyncio.wait({task, port}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    try:
        yield Service(hub, port.result(), stop, task, app)
    finally:
        stop.set()
        if not task.cancelled():
            await task
        await app.state.close()


def get(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, Any, bytes]:
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as r:
            return r.status, r.headers, r.read()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read()


async def fetch(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, Any, bytes]:
    return await asyncio.to_thread(get, url, method, body, **headers)


async def ask(socket: ClientConnection, text: str | bytes) -> Any:
    await socket.send(text)
    return decode_server(await socket.recv())


async def told(socket: ClientConnection, text: str | bytes) -> Error:
    answer = await ask(socket, text)
    assert isinstance(answer, Error)
    return answer


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "streamsvc test")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    cert_file.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return cert_file, key_file
