"""The only place that knows a setting of the service: its type, range, default and meaning. Settings are frozen;
nothing changes them after the start."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from msgspec import inspect as types

from streamsvc.errors import StreamsvcError


class ConfigError(StreamsvcError):
    """Names the file, variable or flag, the key, and the values that are accepted."""


class IceServer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One STUN or TURN server, with the field names of the browser's RTCIceServer. `secret`, which a TURN server shares
    (coturn's static-auth-secret), stands for a username and credential made for each session, and never leaves us."""

    urls: Annotated[tuple[str, ...], Meta(min_length=1)]  # RFC 7064 and 7065
    username: str | None = None
    credential: str | None = None
    secret: str | None = None


Device = Annotated[str, Meta(pattern=r"^(auto|cpu|cuda(:[0-9]{1,2})?)$")]
ViewDevice = Annotated[str, Meta(pattern=r"^(cpu|cuda(:[0-9]{1,2})?)$")]
Language = Annotated[str, Meta(pattern=r"^[a-z]{2,3}$")]
Spoken = Annotated[str, Meta(pattern=r"^(auto|[a-z]{2,3})$")]
Origin = Annotated[str, Meta(pattern=r"^(\*|https?://[^/\s]+)$")]
Text = Annotated[str, Meta(min_length=1, max_length=1024)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the file."""


class Limits(Section, frozen=True, kw_only=True):
    """What one service, and one signalling connection, may ask for."""

    max_connections: Annotated[
        int,
        Meta(ge=1, le=100_000, description="signalling WebSockets, joined or not, WHIP or WHEP sessions, set-ups"),
    ] = 128
    max_rooms: Annotated[int, Meta(ge=1, le=10_000, description="rooms at once")] = 32
    max_participants: Annotated[int, Meta(ge=1, le=20_000, description="participants at once, in all rooms")] = 64
    messages_per_s: Annotated[float, Meta(ge=0.1, le=10_000, description="one connection's steady rate")] = 30.0
    message_burst: Annotated[int, Meta(ge=1, le=100_000, description="messages that may come at once")] = 120
    join_timeout_s: Annotated[float, Meta(ge=0.1, le=600, description="after which an idle connection ends")] = 10.0
    join_attempts: Annotated[int, Meta(ge=1, le=100, description="failed joins before the connection is closed")] = 5
    answer_timeout_s: Annotated[
        float, Meta(ge=0.1, le=15, description="longest time to answer one message, an offer above all")
    ] = 12.0
    max_setups: Annotated[int, Meta(ge=0, le=1000, description="rigs being set up at once, a process each")] = 4
    setup_idle_s: Annotated[float, Meta(ge=0.1, le=3600, description="after which an idle set-up ends")] = 120.0
    admission: Annotated[
        bool,
        Meta(description="take people beside other calls only as far as nobody's pictures or words come late by it"),
    ] = True
    outbox: Annotated[
        int, Meta(ge=1, le=10_000, description="messages waiting for a client; one that doesn't read is closed")
    ] = 64


class Server(Section, frozen=True, kw_only=True):
    """The port: page, signalling, health and metrics."""

    host: Annotated[
        str, Meta(min_length=1, max_length=255, description="address to listen on; 0.0.0.0 for every one of the host's")
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="TCP port; 0 takes any free one")] = 8080
    token_file: Annotated[
        Path | None,
        Meta(description="one token a line, optionally followed by room=NAME, or key=SECRET; nobody joins without one"),
    ] = None
    tls_cert: Annotated[Path | None, Meta(description="certificate chain, PEM; with it the port speaks HTTPS")] = None
    tls_key: Annotated[Path | None, Meta(description="private key of tls_cert, PEM, without a passphrase")] = None
    allowed_origins: Annotated[
        tuple[Origin, ...],
        Meta(description="other sites whose pages may use this service, e.g. https://example.org; * for every site"),
    ] = ()
    ice_servers: Annotated[
        tuple[IceServer, ...],
        Meta(description="STUN and TURN servers for both ends; none by default, so that no third party is contacted"),
    ] = ()

    @property
    def tls(self) -> bool:
        """Return True when the port speaks HTTPS."""
        return self.tls_cert is not None


class View(Section, frozen=True, kw_only=True):
    """The picture, until a participant asks for another."""

    width: Annotated[int, Meta(ge=64, le=2048, description="pixels")] = 640
    height: Annotated[int, Meta(ge=64, le=2048, description="pixels")] = 480
    budget_ms: Annotated[float, Meta(ge=20, le=5000, description="from capture to display")] = 400.0
    device: Annotated[ViewDevice, Meta(description="where the view is computed")] = "cpu"
    encoder: Annotated[
        Literal["auto", "software", "h264_nvenc", "h264_qsv", "h264_amf", "h264_v4l2m2m"],
        Meta(
            description="encodes H.264; auto is hardware where it works, for views larger than 640x480; named hardware "
            "must work, and takes smaller ones, too"
        ),
    ] = "auto"
    max_mbps: Annotated[
        float,
        Meta(ge=0, le=100, description="Mb/s that a view may take; 0 is what its size needs, at most 12.5"),
    ] = 0.0


class Speech(Section, frozen=True, kw_only=True):
    """Interpretation, until a participant asks for another."""

    enabled: Annotated[bool, Meta(description="interpret voices at all")] = True
    model: Annotated[
        Text | None, Meta(description="name of an installed or hub model, or a directory; none takes the installed one")
    ] = None
    device: Annotated[Device, Meta(description="where Whisper runs")] = "auto"
    policy: Annotated[str, Meta(min_length=1, max_length=32, description="when to speak")] = "agreement"
    parameters: Annotated[dict[str, float], Meta(description="of the policy; those left out are at its defaults")] = {}
    source: Annotated[Spoken, Meta(description="spoken; auto detects it")] = "auto"
    target: Annotated[Language, Meta(description="heard")] = "en"
    glossary: Annotated[tuple[str, ...], Meta(description="names and terms to spell like this in a translation")] = ()
    voice: Annotated[
        Text | None, Meta(description="name of the voice; auto is the one nearest to a speaker's pitch, none Piper's")
    ] = None


class Worker(Section, frozen=True, kw_only=True):
    """The process that computes."""

    lanes: Annotated[int, Meta(ge=1, le=16, description="threads that run slices")] = 2
    hang_s: Annotated[float, Meta(ge=0.2, le=60, description="a lane overdue by this is replaced")] = 2.0


class Ledger(Section, frozen=True, kw_only=True):
    """What everything cost."""

    path: Annotated[Path | None, Meta(description="JSON lines, appended to; none keeps no file")] = None


class Recording(Section, frozen=True, kw_only=True):
    """Calls that are kept, where everybody in them agrees; docs/security.md says what that means."""

    folder: Annotated[Path | None, Meta(description="where recordings are written; none: calls can't be recorded")] = (
        None
    )
    answer_s: Annotated[float, Meta(ge=5, le=600, description="time to agree, after which the answer is no")] = 30.0
    max_minutes: Annotated[float, Meta(ge=0.1, le=1440, description="longest recording")] = 120.0
    max_recordings: Annotated[int, Meta(ge=1, le=1000, description="recordings at once, a process each")] = 8
    least_free_mib: Annotated[
        int, Meta(ge=1, le=1 << 30, description="a recording ends before less than this is free on the disk")
    ] = 1024


class Log(Section, frozen=True, kw_only=True):
    """What is told on stderr."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="least severe message that is told")
    ] = "info"


class Settings(Section, frozen=True, kw_only=True):
    """All of it."""

    server: Server = Server()
    limits: Limits = Limits()
    view: View = View()
    speech: Speech = Speech()
    worker: Worker = Worker()
    ledger: Ledger = Ledger()
    recording: Recording = Recording()
    log: Log = Log()


def is_loopback(host: str) -> bool:
    """Return True when `host`, a name or an address with or without brackets, means this machine only."""
    name = host.strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


SECTIONS: dict[str, type[Section]] = {f.name: type(f.default) for f in msgspec.structs.fields(Settings)}
HINTS: dict[str, Any] = {
    f"{section}.{f.name}": f.type for section, kind in SECTIONS.items() for f in msgspec.structs.fields(kind)
}


def _fields() -> dict[str, dict[str, types.Field]]:
    result = {}
    for section, kind in SECTIONS.items():
        info = types.type_info(kind)
        if not isinstance(info, types.StructType):
            raise TypeError(f"[{section}] must be a struct")
        result[section] = {f.name: f for f in info.fields}
    return result


FIELDS = _fields()
