"""WHIP in and WHEP out: calls that a client makes with HTTP requests alone (RFC 9725, draft-ietf-wish-whep).

`POST /whip/ROOM` or `/whep/ROOM` with an SDP offer joins the room and answers with SDP and the secret address of the
session; there `PATCH` takes trickled candidates and `DELETE` ends the call. The two differ in the name that a client
has unless it says: what flows in which direction is what it offers.

Owns the sessions. Promises: a session is there from its join until its participant has left, whoever ended that, and
takes one place of the port all that time; its participant is asked one thing at a time; requests without the right
token learn nothing about it; no body, candidate, address or token is logged.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamsvc.budget.clock import Clock
from streamsvc.config import Settings
from streamsvc.signalling.admission import Admission
from streamsvc.signalling.asking import ask, leave
from streamsvc.signalling.auth import TokenBook, bearer_token
from streamsvc.signalling.grants import Grant
from streamsvc.signalling.guard import check_length, check_origin, check_type, read_body
from streamsvc.signalling.hub import Hub, Participant
from streamsvc.signalling.messages import (
    MAX_SDP_BYTES,
    Candidate,
    Join,
    Joined,
    Offer,
    ServerMessage,
    SignallingError,
    decode_client,
)
from streamsvc.signalling.refusals import refusal
from streamsvc.signalling.rooms import same_name
from streamsvc.signalling.sdpfrag import MAX_FRAGMENT_BYTES, parse_fragment, username_fragments

KINDS = ("whip", "whep")
SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
# All are routed here: what isn't is looked for among the page's files.
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
FLAGS = {"": True, "1": True, "true": True, "0": False, "false": False}
# Where each option of a POST's query is found in `join`; "" is the message itself.
OPTIONS = {"name": "", "mirror": "", "source": "speech", "width": "view", "height": "view", "budget_ms": "view"}
READABLE = "Location, ETag, Link, Accept-Patch, Retry-After, WWW-Authenticate"

T = TypeVar("T")
Handler = Callable[[str, Request], Awaitable[Response]]


class _Session(msgspec.Struct, frozen=True):
    """One call; `fragments` are the ICE username fragments of its offer."""

    kind: str
    room: str
    participant: Participant
    etag: str
    fragments: frozenset[str]
    turn: asyncio.Lock


class Whip:
    """The handlers of both protocols."""

    def __init__(self, hub: Hub, tokens: TokenBook, settings: Settings, clock: Clock, admission: Admission) -> None:
        self._hub, self._tokens, self._clock, self._admission = hub, tokens, clock, admission
        self._server, self._limits = settings.server, settings.limits
        self._sessions: dict[str, _Session] = {}

    def routes(self) -> list[Route]:
        """Return the addresses of this module."""
        return [
            route
            for kind in KINDS
            for route in (
                self._route(kind, "/{room}", {"POST": self._post}, {"Accept-Post": SDP}),
                self._route(
                    kind, "/{room}/{id}", {"PATCH": self._patch, "DELETE": self._delete}, {"Accept-Patch": FRAGMENT}
                ),
            )
        ]

    def _route(self, kind: str, path: str, handlers: Mapping[str, Handler], accepts: Mapping[str, str]) -> Route:
        methods = ", ".join([*handlers, "OPTIONS"])

        async def handle(request: Request) -> Response:
            try:
                check_origin(request.headers, self._server, self._admission)
                if request.method not in (*handlers, "OPTIONS"):
                    raise SignallingError("bad-method", f"here only {methods} are answered")
                if request.method == "OPTIONS":
                    allowed = {"Access-Control-Allow-Methods": methods, "Access-Control-Max-Age": "600"}
                    asked = {"Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match"}
                    response = Response(headers={"Allow": methods, **accepts, **allowed, **asked})
                else:
                    address = request.client.host if request.client is not None else ""
                    self._admission.pace(address, self._clock.now_ns())
                    # A call outlives its token, and whoever began it must be able to end it.
                    request.state.grant = self._tokens.check_join(
                        bearer_token(request.headers.get("authorization")),
                        request.path_params["room"],
                        begun="id" in request.path_params,
                    )
                    response = await handlers[request.method](kind, request)
            except SignallingError as e:
                self._admission.errors[e.code] += 1
                response = refusal(e)
                response.headers.update({"bad-method": {"Allow": methods}, "bad-content-type": accepts}.get(e.code, {}))
                if e.code == "foreign-origin":
                    return response
            return _readable(response, request.headers.get("origin"))

        return Route(f"/{kind}{path}", handle, methods=METHODS)

    async def _post(self, kind: str, request: Request) -> Response:
        check_type(request, SDP)
        check_length(request, MAX_SDP_BYTES)
        self._admission.enter()
        try:
            grant: Grant = request.state.grant
            join = grant.settings(_join(kind, request), first=True)
            offer = decode_client(msgspec.json.encode({"type": "offer", "sdp": await self._body(request)}))
            assert isinstance(offer, Offer)
            participant, joined = await self._ask("join", self._hub.join(join, _unheard, resumable=False))
        except BaseException:
            self._admission.exit()
            raise
        id, etag = secrets.token_urlsafe(24), f'"{secrets.token_urlsafe(9)}"'
        fragments = username_fragments(offer.sdp)
        session = _Session(kind, join.room, participant, etag, fragments, asyncio.Lock())
        self._sessions[id] = session
        participant.on_left = lambda: self._forget(id)
        try:
            async with session.turn:
                answer = await self._ask("offer", participant.offer(offer, grant))
        except BaseException:
            await self._end(id, session)
            raise
        headers = {
            "Location": f"/{kind}/{quote(join.room, safe='')}/{id}",
            "ETag": etag,
            "Accept-Patch": FRAGMENT,
        }
        response = Response(answer.sdp, 201, headers, SDP)
        for link in _ice_links(joined):
            response.headers.append("Link", link)
        return response

    async def _patch(self, kind: str, request: Request) -> Response:
        id, session = self._find(kind, request)
        check_type(request, FRAGMENT)
        check_length(request, MAX_FRAGMENT_BYTES)
        condition = request.headers.get("if-match")
        if condition is None:
            told = "a PATCH needs If-Match with the ETag of the answer to the POST (RFC 9725, section 4.3.2)"
            raise SignallingError("no-condition", told)
        fragment = parse_fragment(await self._body(request, MAX_FRAGMENT_BYTES))
        if not fragment.usernames <= session.fragments:
            # If-Match is "*" then, but clients also say that when they only trickle.
            told = "ICE restarts are not supported: the call goes on as it is; end it and call again"
            raise SignallingError("no-restart", told)
        if not {session.etag, "*"} & {tag.strip() for tag in condition.split(",")}:
            raise SignallingError("out-of-date", "If-Match is not the ETag of this session")
        async with session.turn:
            for candidate in fragment.candidates:
                self._check_there(id)
                message = decode_client(msgspec.json.encode(candidate))
                assert isinstance(message, Candidate)
                await self._ask("candidate", session.participant.candidate(message))
        return Response(status_code=204)

    async def _delete(self, kind: str, request: Request) -> Response:
        id, session = self._find(kind, request)
        async with session.turn:
            self._check_there(id)
            await self._end(id, session)
        return Response()

    def _find(self, kind: str, request: Request) -> tuple[str, _Session]:
        id = request.path_params["id"]
        session = self._sessions.get(id)
        if session is None or (kind, same_name(request.path_params["room"])) != (session.kind, same_name(session.room)):
            raise SignallingError("not-found", "there is no such session, or it has ended")
        return id, session

    def _check_there(self, id: str) -> None:
        if id not in self._sessions:
            raise SignallingError("not-found", "the session has ended")

    async def _end(self, id: str, session: _Session) -> None:
        try:
            await leave(session.participant)
        finally:
            self._forget(id)

    def _forget(self, id: str) -> None:
        if self._sessions.pop(id, None) is not None:
            self._admission.exit()

    async def _ask(self, what: str, work: Awaitable[T]) -> T:
        return await ask(what, work, self._limits.answer_timeout_s)

    async def _body(self, request: Request, most: int = MAX_SDP_BYTES) -> str:
        """Return the body's text; whoever sends it too slowly holds their place for no longer than who doesn't join."""
        try:
            return (await read_body(request, most, self._limits.join_timeout_s)).decode()
        except UnicodeDecodeError:
            raise SignallingError("bad-sdp", "the body is not UTF-8") from None


def _unheard(message: ServerMessage) -> None:
    """Drop what the hub sends: there is nothing to send it on."""


def _join(kind: str, request: Request) -> Join:
    """Return the message that a POST stands for; raises SignallingError (bad-message)."""
    values: dict[str, Any] = {"type": "join", "room": request.path_params["room"], "name": kind}
    if kind == "whep":
        values |= {"fps": 0, "speech": {"enabled": False}}
    values["token"] = bearer_token(request.headers.get("authorization"))
    for option, text in request.query_params.items():
        if option not in OPTIONS:
            told = f"there is no option {option[:64]!r}; there are {', '.join(OPTIONS)}"
            raise SignallingError("bad-message", told)
        where = OPTIONS[option]
        table = values.setdefault(where, {}) if where else values
        if where == "view":
            table[option] = _number(text)
        else:
            table[option] = FLAGS.get(text.lower(), text) if option == "mirror" else text
    message = decode_client(msgspec.json.encode(values))
    assert isinstance(message, Join)
    return message


def _number(text: str) -> object:
    """Return the JSON number that `text` is, or else `text`, which the message's type then refuses."""
    try:
        return msgspec.json.decode(text, type=int | float)
    except msgspec.MsgspecError:
        return text


def _ice_links(joined: Joined) -> list[str]:
    """Return the ICE servers as Link fields (RFC 9725, section 4.6)."""
    links = []
    for server in joined.ice_servers:
        more = ""
        if server.get("username") is not None:
            pairs = {"username": server["username"], "credential": server.get("credential") or ""}
            more = "".join(f'; {key}="{_quoted(value)}"' for key, value in pairs.items())
            more += '; credential-type="password"'
        links += [f'<{url}>; rel="ice-server"{more}' for url in server["urls"]]
    return [link for link in links if link.isascii() and link.isprintable()]


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _readable(response: Response, origin: str | None) -> Response:
    """Let the page of an origin that is allowed read the answer."""
    if origin is not None:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = READABLE
        response.headers.add_vary_header("Origin")
    return response
