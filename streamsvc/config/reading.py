"""Settings from a TOML file, the environment and flags, in rising precedence; an error names the source, the key and
what is accepted.

Names of one setting: `port` under `[server]` in the file, `STREAMSVC_SERVER_PORT` in the environment, `server.port`
among the flags.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec import inspect as types

from streamsvc.config.settings import FIELDS, HINTS, ConfigError, Settings
from streamsvc.config.wording import describe
from streamsvc.frames.glossary import GlossaryError, parse_glossary

ENVIRONMENT_PREFIX = "STREAMSVC_"
OTHER_VARIABLES = ("STREAMSVC_CACHE", "STREAMSVC_TOKEN", "STREAMSVC_WEIGHTS")
"""Those that are no settings of the service."""

ICE_URL = re.compile(r"(stuns?|turns?):[^\s/]+")


def load(file: Path | None, env: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """Return the settings; flags win over the environment, which wins over the file.

    `flags` maps dotted names ("server.port") to values; None means that the flag was not given. Relative paths in the
    file are taken from the file's own directory, those of the environment and of flags from the working directory.
    Raises ConfigError.
    """
    values: dict[str, dict[str, object]] = {section: {} for section in FIELDS}
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
        if section not in FIELDS:
            raise ConfigError(f"{file}: there is no section [{section}]{_choices(section, FIELDS)}")
        if not isinstance(table, dict):
            raise ConfigError(f"{file}: {section} must be a section, written [{section}], not a value")
        for name, raw in table.items():
            yield _Value(section, name, raw, str(file), True, file.absolute().parent)


def _from_env(env: Mapping[str, str]) -> Iterator[_Value]:
    for variable, text in env.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in OTHER_VARIABLES:
            continue
        section, _, name = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition("_")
        if section not in FIELDS:
            raise ConfigError(f"the environment variable {variable} is not known{_near(variable)}")
        raw: object = text
        kind = _bare(FIELDS[section][name].type) if name in FIELDS[section] else None
        if isinstance(kind, types.VarTupleType | types.DictType):
            raw = _compound(text, kind, f"the environment variable {variable}")
        yield _Value(section, name, raw, f"the environment variable {variable}", False, Path())


def _from_flags(flags: Mapping[str, object]) -> Iterator[_Value]:
    for dotted, raw in flags.items():
        if raw is None:
            continue
        section, _, name = dotted.partition(".")
        if section not in FIELDS:
            raise ConfigError(f"the flag {dotted} has no section{_choices(section, FIELDS)}")
        yield _Value(section, name, raw, "the command line", False, Path())


def _merge(values: dict[str, dict[str, object]], source: Iterator[_Value]) -> None:
    for value in source:
        fields = FIELDS[value.section]
        key = f"{value.section}.{value.name}"
        if value.name not in fields:
            raise ConfigError(f"{value.origin}: there is no setting {key}{_choices(value.name, fields)}")
        kind = fields[value.name].type
        raw = str(value.raw) if isinstance(value.raw, Path) else value.raw
        if raw == "" and _optional(kind):
            raw = None  # the one way, in a file or a variable, to say "none"
        try:
            # The type itself, with its ranges, so that the message can name the one key that is wrong.
            typed = msgspec.convert(raw, HINTS[key], strict=value.strict, dec_hook=_path)
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
    known = [f"{ENVIRONMENT_PREFIX}{section}_{name}".upper() for section, fields in FIELDS.items() for name in fields]
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
