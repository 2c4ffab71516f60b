"""One port: the page, the signalling WebSocket, WHIP and WHEP, set-ups of rigs, health, metrics and the wire's schema.

`create_app` wires them into one ASGI application, which `listener.run_server` serves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import prometheus_client
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from streamsvc.budget.clock import Clock, MonotonicClock
from streamsvc.config import Settings
from streamsvc.signalling.admission import Admission
from streamsvc.signalling.auth import TokenBook
from streamsvc.signalling.connection import Connection
from streamsvc.signalling.guard import check_origin
from streamsvc.signalling.hub import Hub
from streamsvc.signalling.messages import Error, SignallingError, encode
from streamsvc.signalling.page import Page, SecurityHeaders, tracker_files
from streamsvc.signalling.protocol import Close
from streamsvc.signalling.refusals import refusal
from streamsvc.signalling.rigsetup import RigSetups
from streamsvc.signalling.schema import json_schema
from streamsvc.signalling.whip import Whip

_log = logging.getLogger(__name__)


def create_app(
    hub: Hub,
    settings: Settings,
    *,
    web: Path,
    metrics: Callable[[], bytes],
    health: Callable[[], dict[str, Any]],
    clock: Clock | None = None,
) -> Starlette:
    """Return the application of the port.

    `web` is the page's folder; `metrics` returns Prometheus text; `health` returns what `/healthz` tells as JSON, with
    status 503 when its `ok` is False. With a token file, `/metrics` asks for `Authorization: Bearer` with a token that
    isn't bound to a room. `app.state.statistics()` returns PortStatistics; `await
    app.state.close()` ends the set-ups. Raises ConfigError when the page or the
    token file can't be used.
    """
    port = _Port(hub, settings, Page(web), metrics, health, clock or MonotonicClock())
    app = Starlette(
        routes=[
            WebSocketRoute("/ws", port.signalling),
            *port.whip.routes(),
            *port.setups.routes(),
            Route("/healthz", port.healthz),
            Route("/metrics", port.prometheus),
            Route("/schema.json", port.schema),
            Route("/room/{name}", port.room),
            Mount("/face_mesh", tracker_files()),
            Mount("/", port.page),
        ],
        middleware=[Middleware(SecurityHeaders)],
    )
    app.state.statistics = port.admission.statistics
    app.state.close = port.setups.close
    return app


class _Port:
    """The handlers of one application and what they share."""

    def __init__(
        self,
        hub: Hub,
        settings: Settings,
        page: Page,
        metrics: Callable[[], bytes],
        health: Callable[[], dict[str, Any]],
        clock: Clock,
    ) -> None:
        self.page = page
        self._hub = hub
        self._settings = settings
        self._metrics = metrics
        self._health = health
        self._clock = clock
        self._tokens = TokenBook.read(settings.server.token_file) if settings.server.token_file else TokenBook()
        self._schema = msgspec.json.encode(json_schema())
        self.admission = Admission(settings.limits)
        self.whip = Whip(hub, self._tokens, settings, clock, self.admission)
        self.setups = RigSetups(self._tokens, settings, clock, self.admission)

    async def healthz(self, request: Request) -> Response:
        told = self._health()
        return JSONResponse(told, 200 if told.get("ok", True) else 503)

    async def prometheus(self, request: Request) -> Response:
        if not self._tokens.check_bearer(request.headers.get("authorization")):
            told = "metrics need Authorization: Bearer with a token that is not bound to a room and has no limits"
            return refusal(SignallingError("bad-token", told))
        return Response(self._metrics(), headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST})

    async def schema(self, request: Request) -> Response:
        return Response(self._schema, media_type="application/schema+json")

    async def room(self, request: Request) -> Response:
        return await self.page.index(request.scope)

    async def signalling(self, socket: WebSocket) -> None:
        limits = self._settings.limits
        try:
            check_origin(socket.headers, self._settings.server, self.admission)
        except SignallingError as e:
            _log.warning("refused the page of %r: not this service's own", socket.headers.get("origin", "")[:200])
            await socket.send_denial_response(refusal(e))
            return
        try:
            self.admission.enter()
        except SignallingError as e:
            # Accepted first: a browser tells its page nothing about a handshake that was refused.
            self.admission.errors[e.code] += 1
            await socket.accept()
            await socket.send_text(encode(Error(code=e.code, message=str(e))))
            await socket.close(Close.TRY_LATER)
            return
        try:
            await socket.accept()
            await Connection(socket, self._hub, self._tokens, limits, self._clock, self.admission.errors).run()
        finally:
            self.admission.exit()
