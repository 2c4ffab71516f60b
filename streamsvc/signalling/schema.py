"""The JSON Schema of the wire, for clients that aren't ours."""

from __future__ import annotations

from typing import Any

import msgspec

from streamsvc.frames import rigsetup
from streamsvc.signalling.channels import CaptionsDown, LedgerDown, LedgerUp, ViewpointDown, ViewpointMessage
from streamsvc.signalling.messages import ClientMessage, ServerMessage


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of every message, by direction and channel."""
    unions = {
        "client": ClientMessage,
        "server": ServerMessage,
        "viewpoint": ViewpointMessage,
        "viewpoint_down": ViewpointDown,
        "ledger_up": LedgerUp,
        "ledger_down": LedgerDown,
        "captions": CaptionsDown,
        "setup_up": rigsetup.Begin,
        "setup_down": rigsetup.Begun | rigsetup.Seen | rigsetup.Solved,
    }
    schemas, components = msgspec.json.schema_components(unions.values(), ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "streamsvc wire, version 1",
        "properties": dict(zip(unions, schemas, strict=True)),
        "$defs": components,
    }
