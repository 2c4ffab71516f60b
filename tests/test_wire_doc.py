"""docs/wire.md: what it draws of signalling has every field that the messages have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from streamsvc.signalling.messages import ClientMessage, ServerMessage

DOC = (Path(__file__).resolve().parent.parent / "docs" / "wire.md").read_text("utf-8")
MESSAGES = dict.fromkeys((*get_args(ClientMessage), *get_args(ServerMessage)))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: m.__name__)
def test_every_field_of_a_message_is_named(message: type[msgspec.Struct]) -> None:
    name = message.__struct_config__.tag
    fields = {f.name for f in msgspec.structs.fields(message)} - {"v"}
    drawn = [re.findall(r"\w+", found) for found in re.findall(rf"\b{name} \{{([^}}]*)\}}", DOC)]
    assert not fields or fields in [set(words) for words in drawn], f"{name} has {sorted(fields)}"
