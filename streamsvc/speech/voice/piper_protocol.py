"""The frames between a voice process and the service: `<cII` = kind, request id, payload bytes; then the payload."""

from __future__ import annotations

import struct

HEADER = struct.Struct("<cII")
MAX_PAYLOAD = 64 << 20
