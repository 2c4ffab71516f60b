"""Every setting of the service: typed, in sections, from a TOML file, the environment and flags, in rising precedence.

The structs below are the only place that knows a setting: its type, range, default and meaning. `load` reads them from
the three sources, `example` writes them as a commented file, and an error names the source, the key and what is
accepted. Settings are frozen; nothing changes them after the start.

Names of one setting: `port` under `[server]` in the file, `STREAMSVC_SERVER_PORT` in the environment, `server.port`
among the flags.
"""

from __future__ import annotations

import difflib
import ipaddress
import logging
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from msgspec import inspect as types

from streamsvc.errors import StreamsvcError
from streamsvc.frames.glossary import GlossaryError, parse_glossary

ENVIRONMENT_PREFIX = "STREAMSVC_"
OTHER_VARIABLES = ("STREAMSVC_CACHE", "STREAMSVC_TOKEN", "STREAMSVC_WEIGHTS")
"""Those that are no settings of the service."""

ICE_URL = re.compile(r"(stuns?|turns?):[^\s/]+")
_log = logging.getLogger(__name__)


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


def load(file: Path | None, env: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """Return the settings; flags win over the environment, which wins over the file.

    `flags` maps dotted names ("server.port") to values; None means that the flag was not given. Relative paths in the
    file are taken from the file's own directory, those of the environment and of flags from the working directory.
    Raises ConfigError.
    """
    values: dict[str, dict[str, object]] = {section: {} for section in _FIELDS}
    if file is not None:
        _merge(values, _from_file(file))
    _merge(values, _from_env(env))
    _merge(values, _from_flags(flags))
    settings = msgspec.convert(values, Settings, strict=True, dec_hook=_path, builtin_types=())
    if (settings.server.tls_cert is None) != (settings.server.tls_key is None):
        given, missing = ("tls_cert", "tls_key") if settings.server.tls_cert is not None else ("tls_key", "tls_cert")
        raise ConfigError(f"server.{given} is given without server.{missing}: HTTPS needs both")
    for url in (u for server in settings.server.ice_servers for u in server.urls):
        if not ICE_URL.fullmatch(url):
            raise ConfigError(
                f"server.ice_servers: {url!r} is no STUN or TURN server; one is like stun:example.org:3478 or "
                "turn:example.org:3478?transport=udp"
            )
    try:
        parse_glossary(settings.speech.glossary)
    except GlossaryError as e:
        raise ConfigError(f"speech.glossary: {e}") from None
    return settings


def example() -> str:
    """Return a TOML file that shows every setting, commented out, with its default, meaning and what is accepted."""
    lines = ["# Settings of streamsvc. What is commented out shows the default; an empty text means none."]
    for section, fields in _FIELDS.items():
        doc = (_SECTIONS[section].__doc__ or "").strip()
        lines += ["", f"# {doc}", f"[{section}]"]
        for name, field in fields.items():
            lines.append(f"# {_meaning(field.type)}: {describe(field.type)}")
            default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
            lines.append(f"# {name} = {_toml('' if default is None else default)}")
    return "\n".join(lines) + "\n"


def describe(kind: types.Type) -> str:
    """Return in words what values a setting of this type accepts."""
    match kind:
        case types.Metadata():
            return describe(kind.type)
        case types.UnionType():
            return " or ".join(describe(t) for t in kind.types if not isinstance(t, types.NoneType))
        case types.IntType():
            return "a whole number" + _range(kind.ge, kind.le)
        case types.FloatType():
            return "a number" + _range(kind.ge, kind.le)
        case types.BoolType():
            return "true or false"
        case types.LiteralType():
            return ("one of " if len(kind.values) > 1 else "") + ", ".join(map(str, kind.values))
        case types.StrType():
            return _TEXTS.get(kind.pattern or "", "text")
        case types.VarTupleType():
            return "a list of: " + describe(kind.item_type)
        case types.DictType():
            return "a table of names and numbers"
        case types.StructType():
            return "a table with " + ", ".join(f.name for f in kind.fields)
        case types.CustomType():
            return "a path"
        case _:
            raise TypeError(f"a setting can't be of type {kind!r}")


class _Value(msgspec.Struct, frozen=True):
    """One setting as a source gave it; `strict` False lets text stand for numbers."""

    section: str
    name: str
    raw: object
    origin: str
    strict: bool
    base: Path


def _from_file(file: Path) -> Iterator[_Value]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is not UTF-8"
        raise ConfigError(f"the configuration file {file} can't be read: {reason}") from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"the configuration file {file} is not TOML: {e}") from None
    for section, table in document.items():
        if section not in _FIELDS:
            raise ConfigError(f"{file}: there is no section [{section}]{_choices(section, _FIELDS)}")
        if not isinstance(table, dict):
            raise ConfigError(f"{file}: {section} must be a section, written [{section}], not a value")
        for name, raw in table.items():
            yield _Value(section, name, raw, str(file), True, file.absolute().parent)


def _from_env(env: Mapping[str, str]) -> Iterator[_Value]:
    for variable, text in env.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in OTHER_VARIABLES:
            continue
        section, _, name = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition("_")
        if section not in _FIELDS:
            raise ConfigError(f"the environment variable {variable} is not known{_near(variable)}")
        raw: object = text
        kind = _bare(_FIELDS[section][name].type) if name in _FIELDS[section] else None
        if isinstance(kind, types.VarTupleType | types.DictType):
            raw = _compound(text, kind, f"the environment variable {variable}")
        yield _Value(section, name, raw, f"the environment variable {variable}", False, Path())


def _from_flags(flags: Mapping[str, object]) -> Iterator[_Value]:
    for dotted, raw in flags.items():
        if raw is None:
            continue
        section, _, name = dotted.partition(".")
        if section not in _FIELDS:
            raise ConfigError(f"the flag {dotted} has no section{_choices(section, _FIELDS)}")
        yield _Value(section, name, raw, "the command line", False, Path())


def _merge(values: dict[str, dict[str, object]], source: Iterator[_Value]) -> None:
    for value in source:
        fields = _FIELDS[value.section]
        key = f"{value.section}.{value.name}"
        if value.name not in fields:
            raise ConfigError(f"{value.origin}: there is no setting {key}{_choices(value.name, fields)}")
        kind = fields[value.name].type
        raw = str(value.raw) if isinstance(value.raw, Path) else value.raw
        if raw == "" and _optional(kind):
            raw = None  # the one way, in a file or a variable, to say "none"
        try:
            # The type itself, with its ranges, so that the message can name the one key that is wrong.
            typed = msgspec.convert(raw, _HINTS[key], strict=value.strict, dec_hook=_path)
            _finite(typed)
        except (msgspec.ValidationError, ValueError) as e:
            shown = "" if isinstance(raw, dict | list | tuple) else f", not {raw!r}"
            detail = f" ({e})" if not shown else ""
            raise ConfigError(f"{value.origin}: {key} must be {describe(kind)}{shown}{detail}") from None
        if isinstance(typed, Path):
            typed = value.base / typed.expanduser()
        values[value.section][value.name] = typed


def _compound(text: str, kind: types.Type, origin: str) -> object:
    if text.lstrip().startswith(("[", "{")):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError as e:
            raise ConfigError(f"{origin} must be {describe(kind)}, in JSON: {e}") from None
    return [part.strip() for part in text.split(",") if part.strip()]


def _finite(value: object) -> None:
    numbers = value.values() if isinstance(value, dict) else (value,)
    if any(isinstance(n, float) and not math.isfinite(n) for n in numbers):
        raise ValueError("not a finite number")


def _path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, Path):
        return value
    if kind is Path and isinstance(value, str) and value and "\0" not in value:
        return Path(value)
    raise ValueError("not a path")


def _near(variable: str) -> str:
    known = [f"{ENVIRONMENT_PREFIX}{section}_{name}".upper() for section, fields in _FIELDS.items() for name in fields]
    near = difflib.get_close_matches(variable, [*known, *OTHER_VARIABLES], n=1)
    return f"; did you mean {near[0]}?" if near else f" (a setting's is like {known[0]})"


def _choices(wrong: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(wrong, known, n=1)
    return (f"; did you mean {near[0]}?" if near else "") + f" (accepted: {', '.join(known)})"


def _bare(kind: types.Type) -> types.Type:
    return _bare(kind.type) if isinstance(kind, types.Metadata) else kind


def _optional(kind: types.Type) -> bool:
    bare = _bare(kind)
    return isinstance(bare, types.UnionType) and any(isinstance(t, types.NoneType) for t in bare.types)


def _meaning(kind: types.Type) -> str:
    if isinstance(kind, types.Metadata):
        return str((kind.extra_json_schema or {}).get("description", "")) or _meaning(kind.type)
    if isinstance(kind, types.UnionType):
        return next(filter(None, map(_meaning, kind.types)), "")
    return ""


def _range(low: float | None, high: float | None) -> str:
    return f" from {low:g} to {high:g}" if low is not None and high is not None else ""


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + "}"
    return msgspec.json.encode(value).decode()


_TEXTS = {
    r"^(auto|cpu|cuda(:[0-9]{1,2})?)$": "auto, cpu, cuda or cuda:N",
    r"^(cpu|cuda(:[0-9]{1,2})?)$": "cpu, cuda or cuda:N",
    r"^(auto|[a-z]{2,3})$": "auto or a language code such as es",
    r"^[a-z]{2,3}$": "a language code such as en",
    r"^(\*|https?://[^/\s]+)$": "an origin such as https://example.org (no path), or *",
}
_SECTIONS: dict[str, type[Section]] = {f.name: type(f.default) for f in msgspec.structs.fields(Settings)}
_HINTS: dict[str, Any] = {
    f"{section}.{f.name}": f.type for section, kind in _SECTIONS.items() for f in msgspec.structs.fields(kind)
}


def _fields() -> dict[str, dict[str, types.Field]]:
    result = {}
    for section, kind in _SECTIONS.items():
        info = types.type_info(kind)
        if not isinstance(info, types.StructType):
            raise TypeError(f"[{section}] must be a struct")
        result[section] = {f.name: f for f in info.fields}
    return result


_FIELDS = _fields()
