"""What a setting means and accepts, in words: for errors, and for the example file."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import inspect as types

from streamsvc.config.settings import FIELDS, SECTIONS

_TEXTS = {
    r"^(auto|cpu|cuda(:[0-9]{1,2})?)$": "auto, cpu, cuda or cuda:N",
    r"^(cpu|cuda(:[0-9]{1,2})?)$": "cpu, cuda or cuda:N",
    r"^(auto|[a-z]{2,3})$": "auto or a language code such as es",
    r"^[a-z]{2,3}$": "a language code such as en",
    r"^(\*|https?://[^/\s]+)$": "an origin such as https://example.org (no path), or *",
}


def example() -> str:
    """Return a TOML file that shows every setting, commented out, with its default, meaning and what is accepted."""
    lines = ["# Settings of streamsvc. What is commented out shows the default; an empty text means none."]
    for section, fields in FIELDS.items():
        doc = (SECTIONS[section].__doc__ or "").strip()
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
