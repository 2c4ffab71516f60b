"""The browser client's files over HTTP, the eye tracker's, and the headers that every answer of the port carries.

Modules are served with the media type that a browser insists on, whatever the host's mime.types says; nothing is
cached without asking again; what lies outside the folder, or is hidden, doesn't exist.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamsvc.cache import cache_dir
from streamsvc.config import ConfigError

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".mp4": "video/mp4",
    ".onnx": "application/octet-stream",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".wav": "audio/wav",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}

# Everything comes from this origin: no third-party host, no inline script or style.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob: mediastream:",
        "connect-src 'self'",
        "worker-src 'self'",
        "manifest-src 'self'",
        "base-uri 'self'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
# One worker runs a WebAssembly module; it may do nothing but that and load it.
WORKER = "faceworker.js"
WORKER_POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'"
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Permissions-Policy": "camera=(self), microphone=(self), fullscreen=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class Files(StaticFiles):
    """The files below one folder, which may come later; hidden ones don't exist."""

    async def check_config(self) -> None:
        """Accept a folder that isn't there: then nothing is in it."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Return the file of a URL's path, or nothing where it is hidden."""
        if any(part.startswith(".") and part != "." for part in PurePosixPath(path).parts):
            return "", None
        return super().lookup_path(path)

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return the file with its media type."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        if response.status_code == 200:
            suffix = PurePosixPath(full_path).suffix.lower()
            response.headers["Content-Type"] = MEDIA_TYPES.get(suffix, "application/octet-stream")
        return response


class Page(Files):
    """The browser client; `index.html` for the folder itself."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError when the folder holds no page."""
        if not (folder / "index.html").is_file():
            raise ConfigError(f"the page's folder {folder} holds no index.html; install streamsvc with its page")
        super().__init__(directory=folder, html=True)

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return the file; the worker's with a policy of its own, unchanged or not."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        if PurePosixPath(full_path).name == WORKER:
            response.headers["Content-Security-Policy"] = WORKER_POLICY
        return response

    async def index(self, scope: Scope) -> Response:
        """Return the page itself, for an address that names a room."""
        return await self.get_response("index.html", scope)


def tracker_files() -> Files:
    """Return the eye tracker's package as `make assets` fetched it; nothing where it didn't."""
    return Files(directory=cache_dir() / "face_mesh", check_dir=False)


class SecurityHeaders:
    """ASGI middleware that puts `HEADERS` on every HTTP answer, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)
