"""What can be set on a worker, each with its unit and default."""

from dataclasses import dataclass
from typing import Final

from linkspan_process.audit_settings import AuditConfig
from linkspan_process.settings import (
    parse_captured_keys,
    parse_choice,
    parse_port,
    parse_seconds,
    parse_text,
    setting,
)
from linkspan_process.tls import TlsConfig
from linkspan_worker.auth_config import AuthConfig
from linkspan_worker.limit_config import LimitConfig
from linkspan_worker.pages import parse_hosts, parse_origins
from linkspan_worker.proxies import parse_networks
from linkspan_worker.redirects import ANYWHERE, Whereabouts, parse_whereabouts
from linkspan_worker.targets import parse_http_host, parse_target

ENV_PREFIX: Final = "LINKSPAN_WORKER_"


@dataclass(frozen=True, slots=True)
class _ServingConfig:
    """The settings of a worker, but for those of authentication."""

    session: str = setting(
        "127.0.0.1:50051",
        parse=parse_target,
        help="the session servers to call: HOST:PORT, a list of addresses and ports with commas "
        "between them, or a gRPC target such as dns:///NAME:PORT",
        metavar="TARGET",
    )
    session_networks: Whereabouts = setting(
        ANYWHERE,
        parse=parse_whereabouts,
        help="where session servers are: networks such as 10.0.0.0/8 and names such as "
        "*.sessions.svc, separated by commas; a redirect elsewhere is not followed",
        metavar="NETWORKS",
    )
    host: str = setting(
        "127.0.0.1",
        parse=parse_http_host,
        help="the address to serve HTTP on; any but this machine's own needs authentication",
        metavar="HOST",
    )
    port: int = setting(
        8080, parse=parse_port, help="the port to serve HTTP on; 0 takes a free one", metavar="N"
    )
    request_timeout: float = setting(
        300.0,
        parse=parse_seconds,
        help="how long a request may take, in seconds; listening streams are not bound by it",
        metavar="SECONDS",
    )
    retry_for: float = setting(
        5.0,
        parse=parse_seconds,
        help="how long a request is sent again that no session server takes, or whose session "
        "server is lost, before its client is told, in seconds",
        metavar="SECONDS",
    )
    listen_timeout: float = setting(
        3600.0,
        parse=parse_seconds,
        help="how long a listening stream lives before it ends and its client comes back, in "
        "seconds",
        metavar="SECONDS",
    )
    routing_header: str = setting(
        "",
        parse=parse_text,
        help="the Mcp-Param-* header whose value decides which session server is asked, for "
        "requests without a session",
        metavar="NAME",
    )
    allowed_origins: frozenset[str] = setting(
        frozenset[str](),
        parse=parse_origins,
        help="the origins of web pages that may send requests, beside those of this machine, "
        "separated by commas",
        metavar="ORIGINS",
    )
    allowed_hosts: frozenset[str] = setting(
        frozenset[str](),
        parse=parse_hosts,
        help="the names that the worker answers to in Host, beside those of this machine and of the "
        "resource, separated by commas; none is any, but on loopback only those",
        metavar="NAMES",
    )
    trusted_proxies: frozenset[str] = setting(
        frozenset[str](),
        parse=parse_networks,
        help="the networks of the proxies whose Forwarded and X-Forwarded-* headers are believed, "
        "such as 10.0.0.0/8, separated by commas",
        metavar="NETWORKS",
    )
    stall_timeout: float = setting(
        30.0,
        parse=parse_seconds,
        help="how long a client may send nothing of its request, or take nothing of its answer, "
        "before it is cut off, in seconds",
        metavar="SECONDS",
    )
    comment_every: float = setting(
        25.0,
        parse=parse_seconds,
        help="how long a stream may be silent before a comment shows that it lives, in seconds",
        metavar="SECONDS",
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
    caller_trace: str = setting(
        "follow",
        parse=parse_choice("follow", "resample", "link"),
        help="what becomes of a caller's trace: follow goes on with it and heeds its sampling flag, "
        "resample goes on and decides anew, link begins another and links to it",
        metavar="HOW",
    )
    capture_headers: frozenset[str] = setting(
        frozenset[str](),
        parse=parse_captured_keys,
        help="the request headers whose values spans tell, separated by commas; none that may hold "
        "a secret",
        metavar="NAMES",
    )
    grpc_instrumentation: str = setting(
        "native",
        parse=parse_choice("native", "contrib"),
        help="who traces the calls to session servers: native is linkspan_propagation, contrib is "
        "opentelemetry-instrumentation-grpc, which costs more and uses no tunnels",
        metavar="WHO",
    )
    metrics_port: int | None = setting(
        None,
        parse=parse_port,
        help="the port on loopback where Prometheus finds metrics; 0 takes a free one, none offers "
        "none unless OTEL_METRICS_EXPORTER asks for it",
        metavar="N",
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
class WorkerConfig(AuthConfig, TlsConfig, LimitConfig, AuditConfig, _ServingConfig):
    """The settings of a worker. OpenTelemetry's own are its standard `OTEL_*` variables."""
