"""What a worker measures of HTTP: how long requests take, and what is open, if anybody asks.

Above lies `server`, which puts this before the application only where metrics are on; below lie
`metrics_table` and the HTTP server. Invariant: attributes come from short lists, never from callers.
"""

import time
from collections.abc import Mapping
from typing import Final

from opentelemetry.context import Context
from opentelemetry.metrics import Histogram
from opentelemetry.util.types import AttributeValue

from linkspan_process.metrics import Meters, histogram, observe
from linkspan_worker.http import HttpExchange, HttpServer
from linkspan_worker.http.connection import Serve
from linkspan_worker.metrics_table import (
    BUFFERED,
    CONNECTIONS,
    REQUEST_DURATION,
    REQUESTS,
    STREAMS,
)
from linkspan_worker.subject import subject

_METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
_OTHER: Final = "_OTHER"
_ROUTES: Final[Mapping[str, str]] = {
    "/mcp": "/mcp",
    "/mcp/": "/mcp",
    "/healthz": "/healthz",
    "/readyz": "/readyz",
}
_SERVER_FAULT: Final = 500


class MeasuredApp:
    """An application whose requests are measured."""

    def __init__(self, application: Serve, meters: Meters) -> None:
        """Stand before an application.

        Args:
            application: Answers each request.
            meters: Where it is recorded.
        """
        self._application = application
        self._durations: Histogram = histogram(meters.meter("linkspan.worker"), REQUEST_DURATION)

    async def __call__(self, exchange: HttpExchange) -> None:
        """Have one request answered, and record how long that took, however it ended."""
        started = time.perf_counter()
        try:
            await self._application(exchange)
        finally:
            about = subject()
            self._durations.record(
                time.perf_counter() - started,
                attributes_of(exchange),
                Context() if about is None else about.context,
            )


def attributes_of(exchange: HttpExchange) -> dict[str, AttributeValue]:
    """Return the attributes of a request that has been answered, or was given up.

    Source: https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#metric-httpserverrequestduration
    """
    attributes: dict[str, AttributeValue] = {
        "http.request.method": exchange.method if exchange.method in _METHODS else _OTHER,
        "url.scheme": exchange.scheme,
    }
    route = _ROUTES.get(exchange.path)
    if route is not None:
        attributes["http.route"] = route
    status = exchange.status
    if status is not None:
        attributes["http.response.status_code"] = status
    if exchange.gone and not exchange.response_ended:
        attributes["error.type"] = "client_disconnected"
    elif status is None or status >= _SERVER_FAULT:
        attributes["error.type"] = str(status or _SERVER_FAULT)
    attributes["network.protocol.version"] = "1.1" if exchange.http_version == "1.1" else "1.0"
    return attributes


def measure_http(server: HttpServer, meters: Meters) -> None:
    """Have what is open read whenever metrics are collected."""
    meter = meters.meter("linkspan.worker")
    observe(meter, REQUESTS, lambda: server.running)
    observe(meter, CONNECTIONS, lambda: len(server.connections))
    observe(meter, STREAMS, lambda: sum(each.streaming for each in tuple(server.connections)))
    observe(meter, BUFFERED, lambda: sum(each.unsent_bytes for each in tuple(server.connections)))
