"""What can be set on a session server, each with its unit and default."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from linkspan_process.audit_settings import AuditConfig
from linkspan_process.settings import (
    parse_address,
    parse_bytes,
    parse_captured_keys,
    parse_choice,
    parse_count,
    parse_long_seconds,
    parse_optional_long_seconds,
    parse_path,
    parse_port,
    parse_seconds,
    parse_text,
    parse_yes,
    setting,
)
from linkspan_process.unix_sockets import parse_host
from linkspan_session.exposure import ExposureConfig

ENV_PREFIX: Final = "LINKSPAN_SESSION_"


@dataclass(frozen=True, slots=True)
class _ServingConfig:
    """The settings of a session server, but for those of who reaches it."""

    app: str = setting(
        "",
        parse=parse_text,
        help="the MCP server to host: package.module:attribute or path.py:attribute",
        metavar="APP",
    )
    host: str = setting(
        "127.0.0.1",
        parse=parse_host,
        help="the address to serve gRPC on, or unix:PATH for a socket, which has no port; any but "
        "this machine's own needs TLS",
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
    store: str = setting(
        "",
        parse=parse_text,
        help="the session store: sqlite:///path/to/file.db for one machine, redis://host:6379/0 "
        "for several; nothing is sessions.db in the data folder",
        metavar="URL",
    )
    advertise: str = setting(
        "",
        parse=parse_address,
        help="the address at which workers and other session servers reach this one, host:port; "
        "nothing is the address it serves on",
        metavar="ADDRESS",
    )
    lease: float = setting(
        10.0,
        parse=parse_seconds,
        help="how long after its last sign of life a session server counts as alive, in seconds",
        metavar="SECONDS",
    )
    sleep_after: float = setting(
        60.0,
        parse=parse_seconds,
        help="how long a session may be idle before it leaves memory, in seconds",
        metavar="SECONDS",
    )
    session_ttl: float = setting(
        24 * 3600.0,
        parse=parse_long_seconds,
        help="how long a session may be unused before it expires, in seconds",
        metavar="SECONDS",
    )
    session_lifetime: float | None = setting(
        None,
        parse=parse_optional_long_seconds,
        help="how long a session may be used at all before it expires, in seconds; what runs then "
        "may end",
        metavar="SECONDS",
    )
    max_live: int = setting(
        10_000,
        parse=parse_count,
        help="how many sessions may be in memory; the least recently used ones go to sleep",
        metavar="N",
    )
    max_sessions: int = setting(
        1_000_000,
        parse=parse_count,
        help="how many sessions one principal may have",
        metavar="N",
    )
    max_requests: int = setting(
        100,
        parse=parse_count,
        help="how many requests of one session may run at once",
        metavar="N",
    )
    shed_above: float = setting(
        0.5,
        parse=parse_seconds,
        help="how far the session server may be behind with its work before it turns some calls "
        "away, in seconds",
        metavar="SECONDS",
    )
    max_storage: int = setting(
        4 * 1024 * 1024,
        parse=parse_bytes,
        help="how much each session's storage may hold, in bytes",
        metavar="BYTES",
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
    tracing: str = setting(
        "lean",
        parse=parse_choice("lean", "sdk"),
        help="who makes spans and sends them: lean costs less, sdk is OpenTelemetry's own",
        metavar="WHO",
    )
    capture_metadata: frozenset[str] = setting(
        frozenset[str](),
        parse=parse_captured_keys,
        help="the gRPC metadata of callers whose values spans tell, separated by commas; none that "
        "may hold a secret; for native instrumentation",
        metavar="KEYS",
    )
    grpc_instrumentation: str = setting(
        "native",
        parse=parse_choice("native", "contrib"),
        help="who traces the calls of workers: native is linkspan_propagation, contrib is "
        "opentelemetry-instrumentation-grpc, which costs more and takes no tunnels",
        metavar="WHO",
    )
    metrics_port: int | None = setting(
        None,
        parse=parse_port,
        help="the port on loopback where Prometheus finds metrics; 0 takes a free one, none offers "
        "none unless OTEL_METRICS_EXPORTER asks for it",
        metavar="N",
    )
    audit_content: bool = setting(
        False,
        parse=parse_yes,
        help="show excerpts of arguments and results in the audit trail, which may hold anything",
        metavar="yes",
    )
    log_format: str = setting(
        "auto",
        parse=parse_choice("auto", "json", "text"),
        help="how to log: json for programs, text for people; auto is text on a terminal",
        metavar="FORMAT",
    )
    log_level: str = setting(
        "info",
        parse=parse_choice("debug", "info", "warning", "error"),
        help="how much to log: debug, info, warning or error",
        metavar="LEVEL",
    )


@dataclass(frozen=True, slots=True)
class SessionConfig(ExposureConfig, AuditConfig, _ServingConfig):
    """The settings of a session server. OpenTelemetry's own are its standard `OTEL_*` variables."""
