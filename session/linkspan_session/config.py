"""What can be set on a session server, each with its unit and default."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from linkspan_process.settings import (
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
