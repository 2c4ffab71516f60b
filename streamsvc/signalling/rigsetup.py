"""Setting up a rig from the page, over HTTP (docs/wire.md): pictures of a board in, what helps next out, then a rig.

`POST /setup` begins one; at its secret address `POST look` takes a picture of each camera, `GET sheet` draws the board,
`POST finish` makes the rig, and `DELETE` ends it. The messages are those of `frames.rigsetup`.

Owns the set-ups. Promises: there are at most `limits.max_setups`, each with a process and a place of the port of its
own until it ends; each does one thing at a time, and ends when nothing was asked for `limits.setup_idle_s`; a request
without an accepted token learns nothing about it; no picture is kept or logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamsvc.budget.clock import Clock
from streamsvc.config import Settings
from streamsvc.frames import rigsetup
from streamsvc.signalling.admission import Admission
from streamsvc.signalling.auth import TokenBook, bearer_token
from streamsvc.signalling.grants import Grant
from streamsvc.signalling.guard import check_length, check_origin, check_type, read_body
from streamsvc.signalling.messages import SignallingError
from streamsvc.signalling.refusals import refusal
from streamsvc.signalling.rigprocess import RigProcess

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
JSON = "application/json"
PICTURES = "application/octet-stream"
SHEETS = {"svg": "image/svg+xml", "png": "image/png"}
MAX_BEGIN_BYTES = 4096
MAX_ASKS = 6000
"""Of one set-up: half an hour of looking."""

SOLVE_TIMEOUT_S = 60.0
"""For what may calibrate: finishing, and a look that is kept."""

_begin = msgspec.json.Decoder(rigsetup.Begin)
Handler = Callable[[Request], Awaitable[Response]]


class _Setup:
    """One set-up of so many `cameras`."""

    def __init__(self, cameras: int, process: RigProcess) -> None:
        self.cameras, self.process = cameras, process
        self.busy = False
        self.asks = 0
        self.expiry: asyncio.TimerHandle | None = None


class RigSetups:
    """The handlers and the set-ups of one port."""

    def __init__(self, tokens: TokenBook, settings: Settings, clock: Clock, admission: Admission) -> None:
        self._tokens, self._clock, self._admission = tokens, clock, admission
        self._server, self._limits = settings.server, settings.limits
        self._setups: dict[str, _Setup] = {}
        self._open = 0
        self._ending: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        """Return the addresses of this module."""
        return [
            self._route("/setup", {"POST": self._post}),
            self._route("/setup/{id}", {"DELETE": self._delete}),
            self._route("/setup/{id}/look", {"POST": self._look}),
            self._route("/setup/{id}/sheet", {"GET": self._sheet}),
            self._route("/setup/{id}/finish", {"POST": self._finish}),
        ]

    async def close(self) -> None:
        """End all set-ups."""
        for id in list(self._setups):
            await self._end(id)

    def _route(self, path: str, handlers: Mapping[str, Handler]) -> Route:
        methods = ", ".join(handlers)

        async def handle(request: Request) -> Response:
            try:
                check_origin(request.headers, self._server, self._admission)
                if request.method not in handlers:
                    raise SignallingError("bad-method", f"here only {methods} is answered")
                self._admission.pace(request.client.host if request.client else "", self._clock.now_ns())
                request.state.grant = self._tokens.check_any(
                    bearer_token(request.headers.get("authorization")), begun="id" in request.path_params
                )
                return await handlers[request.method](request)
            except SignallingError as e:
                self._admission.errors[e.code] += 1
                response = refusal(e)
                if e.code == "bad-method":
                    response.headers["Allow"] = methods
                return response

        return Route(path, handle, methods=METHODS)

    async def _post(self, request: Request) -> Response:
        check_type(request, JSON)
        begin = _decode_begin(await self._body(request, MAX_BEGIN_BYTES))
        grant: Grant = request.state.grant
        grant.sending({"video": len(begin.cameras)})
        if self._open >= self._limits.max_setups:
            told = f"{self._open} rigs are being set up now, as many as the service takes; try again in a few minutes"
            raise SignallingError("setups-full", told)
        self._admission.enter()
        self._open += 1
        id = secrets.token_urlsafe(24)
        setup = self._setups[id] = _Setup(len(begin.cameras), RigProcess())
        try:
            async with self._turn(id, setup):
                begun = await self._ask(setup, begin)
        except BaseException:
            await self._end(id)
            raise
        return Response(msgspec.json.encode(begun), 201, {"Location": f"/setup/{id}"}, JSON)

    async def _look(self, request: Request) -> Response:
        id, setup = self._find(request)
        check_type(request, PICTURES)
        sizes = _sizes(request.query_params.get("bytes", ""), setup.cameras)
        async with self._turn(id, setup):
            data = await self._body(request, setup.cameras * rigsetup.MAX_PICTURE_BYTES)
            if len(data) != sum(sizes):
                told = f"the body has {len(data)} bytes, not the {sum(sizes)} that ?bytes= says"
                raise SignallingError("bad-message", told)
            self._find(request)  # it may have been ended meanwhile
            pictures, at = [], 0
            for size in sizes:
                pictures.append(data[at : at + size])
                at += size
            return _json(await self._ask(setup, rigsetup.Look(pictures=pictures), SOLVE_TIMEOUT_S))

    async def _sheet(self, request: Request) -> Response:
        id, setup = self._find(request)
        try:
            ask = msgspec.convert({"form": request.query_params.get("form", "svg")}, rigsetup.Sheet)
        except msgspec.ValidationError:
            raise SignallingError("bad-message", f"?form= is one of {', '.join(SHEETS)}") from None
        async with self._turn(id, setup):
            drawn = await self._ask(setup, ask)
        assert isinstance(drawn, rigsetup.Drawn)
        return Response(drawn.data, media_type=SHEETS[ask.form])

    async def _finish(self, request: Request) -> Response:
        id, setup = self._find(request)
        async with self._turn(id, setup):
            return _json(await self._ask(setup, rigsetup.Finish(), SOLVE_TIMEOUT_S))

    async def _delete(self, request: Request) -> Response:
        await self._end(self._find(request)[0])
        return Response(status_code=204)

    def _find(self, request: Request) -> tuple[str, _Setup]:
        id = request.path_params["id"]
        if id not in self._setups:
            raise SignallingError("not-found", "there is no such set-up, or it has ended")
        return id, self._setups[id]

    async def _body(self, request: Request, most: int) -> bytes:
        check_length(request, most)
        return await read_body(request, most, self._limits.join_timeout_s)

    async def _ask(self, setup: _Setup, message: rigsetup.Ask, timeout_s: float | None = None) -> rigsetup.Answer:
        return await setup.process.ask(message, timeout_s or self._limits.answer_timeout_s)

    @contextlib.asynccontextmanager
    async def _turn(self, id: str, setup: _Setup) -> AsyncIterator[None]:
        """Let a set-up do one thing, whose body is read only when nothing else is done."""
        if setup.busy:
            raise SignallingError("busy", "a set-up does one thing at a time; wait for its answer")
        setup.asks += 1
        if setup.asks > MAX_ASKS:
            await self._end(id)
            raise SignallingError("setup-over", "this set-up has gone on for too long; begin again")
        setup.busy = True
        if setup.expiry is not None:
            setup.expiry.cancel()
        try:
            yield
        finally:
            setup.busy = False
            if setup.process.ended:
                await self._end(id)
            elif id in self._setups:
                later = asyncio.get_running_loop().call_later
                setup.expiry = later(self._limits.setup_idle_s, self._expire, id)

    def _expire(self, id: str) -> None:
        task = asyncio.create_task(self._end(id), name="setup-expiry")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end(self, id: str) -> None:
        setup = self._setups.pop(id, None)
        if setup is None:
            return
        if setup.expiry is not None:
            setup.expiry.cancel()
        try:
            await setup.process.close()
        finally:
            self._open -= 1
            self._admission.exit()


def _json(answer: rigsetup.Answer) -> Response:
    return Response(msgspec.json.encode(answer), media_type=JSON)


def _decode_begin(data: bytes) -> rigsetup.Begin:
    try:
        return _begin.decode(data)
    except msgspec.ValidationError as e:
        raise SignallingError("bad-message", f"the message is not accepted: {str(e)[:300]}") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise SignallingError("not-json", "the message is not JSON") from None


def _sizes(text: str, cameras: int) -> list[int]:
    """Return the sizes of the pictures in a body, from `?bytes=81234,79112`; raises SignallingError."""
    parts = text.split(",")[: cameras + 1]
    if len(parts) != cameras or not all(p.isascii() and p.isdecimal() and 0 < len(p) < 9 for p in parts):
        raise SignallingError("bad-message", f"?bytes= must say how large each of the {cameras} pictures is")
    sizes = [int(p) for p in parts]
    if max(sizes) > rigsetup.MAX_PICTURE_BYTES:
        told = f"a picture has {max(sizes)} bytes; at most {rigsetup.MAX_PICTURE_BYTES} are accepted"
        raise SignallingError("too-large", told)
    return sizes
