"""What the SDK knows of a session's connection, as what is put on record."""

import json
from functools import lru_cache
from typing import Final, cast

from mcp.server.connection import Connection
from mcp_types.version import is_version_at_least

from linkspan_contract.envelope import JsonObject
from linkspan_session.store import Handshake

_MAX_SCRATCH_BYTES: Final = 256 * 1024
"""How much of what a server keeps with a connection is put on record, in bytes of JSON."""


def handshake_of(connection: Connection) -> Handshake | None:
    """Return what `initialize` settled on a connection; None if it has not."""
    if connection.client_params is None:
        return None
    return Handshake(
        protocol_version=connection.protocol_version,
        params_json=connection.client_params.model_dump_json(by_alias=True, exclude_none=True),
        initialized=connection.initialized.is_set(),
    )


def scratch_of(connection: Connection) -> str:
    """Return what the hosted server keeps with a connection, as JSON; empty for nothing.

    What is not JSON, or too much, stays in memory and is gone when the session sleeps.
    """
    if not connection.state:
        return ""
    kept = {key: value for key, value in connection.state.items() if _is_json(value)}
    text = json.dumps(kept, allow_nan=False, sort_keys=True) if kept else ""
    return text if len(text) <= _MAX_SCRATCH_BYTES else ""


def client_of(handshake: Handshake) -> tuple[str, str]:
    """Return the name and the version that the client gave of itself."""
    info = cast("JsonObject", json.loads(handshake.params_json)).get("clientInfo", {})
    return str(info.get("name", "")), str(info.get("version", ""))


@lru_cache(maxsize=16)
def has_priming_events(protocol_version: str) -> bool:
    """Tell whether clients of a version know streams that open with an event id (SEP-1699)."""
    return is_version_at_least(protocol_version, "2025-11-25")


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
