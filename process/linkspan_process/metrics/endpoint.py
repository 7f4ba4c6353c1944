"""Where Prometheus finds the metrics of a process: `/metrics`, on a port and threads of its own.

Whoever scrapes is served while the event loop is busy, too, and a scraper that is slow, or many of
them, cost serving nothing. Above lies `meters`; below lie `text` and the standard library's server.

Invariants: a request is served or refused in bounded time by a bounded number of threads; a page of
another site cannot read what is on loopback (DNS rebinding).
"""

import logging
import socket
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, cast

from opentelemetry.sdk.metrics.export import MetricsData

from linkspan_process.errors import StartError
from linkspan_process.metrics.text import (
    OPEN_METRICS_TYPE,
    TEXT_TYPE,
    metrics_text,
    wants_open_metrics,
)
from linkspan_process.ports import address_of, take_port

PATH: Final = "/metrics"

_MAX_SCRAPERS: Final = 8
_REQUEST_SECONDS: Final = 5.0
"""How long a scraper may take to send its request, and for each piece of the answer."""

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})

logger = logging.getLogger(__name__)


class MetricsEndpoint:
    """A running endpoint.

    Attributes:
        address: Its URL.
    """

    def __init__(self, host: str, port: int, collect: Callable[[], MetricsData]) -> None:
        """Serve from now on.

        Args:
            host: A name or an address of this machine.
            port: The port; 0 takes a free one.
            collect: Returns what there is to tell; called in threads of this endpoint.

        Raises:
            StartError: The port cannot be had.
        """
        listener = take_port(host, port, flag="--metrics-port")
        try:
            self._server = _Server(listener, collect, loopback_only=host in _LOOPBACK)
        except OSError as error:
            raise StartError(f"cannot serve metrics on {host}: {error}") from None
        self.address: Final = f"http://{address_of(host, listener.getsockname()[1])}{PATH}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Accept nothing more; what is being answered ends with the process at the latest."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(_REQUEST_SECONDS)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        listener: socket.socket,
        collect: Callable[[], MetricsData],
        *,
        loopback_only: bool,
    ) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.loopback_only = loopback_only
        self._collect = collect
        self._collecting = threading.Lock()
        self._room = threading.BoundedSemaphore(_MAX_SCRAPERS)

    def collect(self) -> MetricsData:
        with self._collecting:
            return self._collect()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        del request, client_address
        logger.debug("a scrape of metrics broke off: %r", sys.exception())


class _Handler(BaseHTTPRequestHandler):
    timeout = _REQUEST_SECONDS
    server_version = "linkspan"
    sys_version = ""

    def do_GET(self) -> None:
        server = cast("_Server", self.server)
        if server.loopback_only and not _is_loopback(self.headers.get("host", "")):
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", b"not for this host name\n")
            return
        if self.path.partition("?")[0] != PATH:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"metrics are at /metrics\n")
            return
        open_metrics = wants_open_metrics(self.headers.get("accept", ""))
        try:
            body = metrics_text(server.collect(), open_metrics=open_metrics).encode()
        except Exception:
            logger.exception("metrics could not be collected")
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", b"see the log\n")
            return
        self._answer(HTTPStatus.OK, OPEN_METRICS_TYPE if open_metrics else TEXT_TYPE, body)

    do_HEAD = do_GET  # noqa: N815 - the standard library's name

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
        logger.debug("metrics: %s", format % args)

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _is_loopback(host: str) -> bool:
    """Tell whether a `Host` header names this machine; one that is missing names nobody else."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return not host or name.strip("[]").lower() in _LOOPBACK
