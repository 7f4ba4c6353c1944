"""What can be set on the trace backend, each with its unit and default."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from linkspan_process.hosts import is_loopback
from linkspan_process.settings import (
    parse_bytes,
    parse_choice,
    parse_count,
    parse_long_seconds,
    parse_path,
    parse_port,
    parse_seconds,
    setting,
)

ENV_PREFIX: Final = "LINKSPAN_TRACES_"


def parse_loopback(text: str) -> str:
    """Take a loopback address: whoever reaches the backend may read every trace."""
    if not is_loopback(text):
        raise ValueError(
            f"must be an address of this machine only, such as 127.0.0.1, not {text!r}"
        )
    return text


@dataclass(frozen=True, slots=True)
class TracesConfig:
    """The settings of the trace backend."""

    data: Path = setting(
        Path(".linkspan"), parse=parse_path, help="the folder for traces.db", metavar="DIR"
    )
    host: str = setting(
        "127.0.0.1",
        parse=parse_loopback,
        help="the loopback address to serve on; there is no authentication",
        metavar="HOST",
    )
    port: int = setting(
        4318,
        parse=parse_port,
        help="the port for the web page and OTLP over HTTP; 0 takes a free one",
        metavar="N",
    )
    grpc_port: int = setting(
        4317, parse=parse_port, help="the port for OTLP over gRPC; 0 takes a free one", metavar="N"
    )
    max_size: int = setting(
        256 * 1024 * 1024,
        parse=parse_bytes,
        help="how large traces.db may grow before the oldest traces go, in bytes, or with k or M",
        metavar="BYTES",
    )
    max_age: float = setting(
        7 * 86_400.0,
        parse=parse_long_seconds,
        help="how long a trace is kept after its last span came, in seconds",
        metavar="SECONDS",
    )
    max_trace_spans: int = setting(
        10_000,
        parse=parse_count,
        help="how many spans of one trace are kept; those that come later are refused",
        metavar="N",
    )
    max_request: int = setting(
        16 * 1024 * 1024,
        parse=parse_bytes,
        help="how large one export may be, unpacked, in bytes, or with k or M",
        metavar="BYTES",
    )
    max_backlog: int = setting(
        64 * 1024 * 1024,
        parse=parse_bytes,
        help="how much may wait to be written before senders are told to come again, in bytes, or "
        "with k or M",
        metavar="BYTES",
    )
    drain_timeout: float = setting(
        5.0,
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
