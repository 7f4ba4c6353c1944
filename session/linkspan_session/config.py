"""What can be set on a session server, each with its unit and default."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from linkspan_process.settings import (
    parse_bytes,
    parse_choice,
    parse_path,
    parse_port,
    parse_seconds,
    parse_text,
    setting,
)

ENV_PREFIX: Final = "LINKSPAN_SESSION_"


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """The settings of a session server. OpenTelemetry's own are its standard `OTEL_*` variables."""

    app: str = setting(
        "",
        parse=parse_text,
        help="the MCP server to host: package.module:attribute or path.py:attribute",
        metavar="APP",
    )
    host: str = setting(
        "127.0.0.1",
        parse=parse_text,
        help="the address to serve gRPC on; the wire is not encrypted, so keep it private",
        metavar="HOST",
    )
    port: int = setting(
        50051, parse=parse_port, help="the port to serve gRPC on; 0 takes a free one", metavar="N"
    )
    data: Path = setting(
        Path(".linkspan"),
        parse=parse_path,
        help="the folder for the session store; made if it is not there",
        metavar="DIR",
    )
    request_timeout: float = setting(
        300.0,
        parse=parse_seconds,
        help="the longest a handler may run, in seconds",
        metavar="SECONDS",
    )
    open_stream_after: float = setting(
        1.0,
        parse=parse_seconds,
        help="how long a call may be silent before its stream opens, so that it can be resumed, "
        "in seconds",
        metavar="SECONDS",
    )
    retry_after: float = setting(
        1.0,
        parse=parse_seconds,
        help="how long clients are asked to wait before they resume a stream, in seconds",
        metavar="SECONDS",
    )
    max_backlog: int = setting(
        8 * 1024 * 1024,
        parse=parse_bytes,
        help="how far the reader of a stream may fall behind before it is cut off, in bytes",
        metavar="BYTES",
    )
    stall_timeout: float = setting(
        30.0,
        parse=parse_seconds,
        help="how long a reader may take nothing while a handler waits for it, in seconds",
        metavar="SECONDS",
    )
    max_event_log: int = setting(
        8 * 1024 * 1024,
        parse=parse_bytes,
        help="how much of each session's events is kept for clients that resume, in bytes",
        metavar="BYTES",
    )
    request_state_key: str = setting(
        "",
        parse=parse_text,
        help="a file with at least 32 secret bytes that seal requestState (MCP 2026-07-28); the "
        "same on all session servers",
        metavar="FILE",
    )
    drain_timeout: float = setting(
        10.0,
        parse=parse_seconds,
        help="how long running requests may take to end at shutdown, in seconds",
        metavar="SECONDS",
    )
    log_level: str = setting(
        "info",
        parse=parse_choice("debug", "info", "warning", "error"),
        help="how much to log: debug, info, warning or error",
        metavar="LEVEL",
    )
