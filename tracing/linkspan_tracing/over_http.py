"""OTLP over HTTP: one POST on a connection that stays open.

Above lies ``sending``. Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp.
"""

import contextlib
import email.utils
import gzip
import http.client
import socket
import ssl
import threading
import time
import urllib.request
from typing import Final
from urllib.parse import SplitResult, urlsplit

from linkspan_tracing.sending import Answer, taken
from linkspan_tracing.settings import Destination

_AGAIN: Final = frozenset({429, 502, 503, 504})
_LONGEST_RESPONSE_BYTES: Final = 1 << 20
_CLOSING_SECONDS: Final = 0.1
"""How long closing waits for a request that it has cut off to notice."""
_TAKEN: Final = 2
"""The hundreds of a status that says so."""
_QUICK: Final = 1
"""How hard gzip tries: spans repeat themselves so much that more effort saves little."""


class HttpSender:
    """Sends over one connection, made when it is first used.

    Args:
        destination: where to; through a proxy, where the environment of the process names one
            (``HTTPS_PROXY``, ``HTTP_PROXY``, ``NO_PROXY``).

    Raises:
        OSError: a file of a certificate or key cannot be read.
    """

    def __init__(self, destination: Destination) -> None:
        self._address = urlsplit(destination.endpoint)
        self._gzips = destination.compression == "gzip"
        self._tls = _tls(destination) if destination.secure else None
        self._headers = {
            "content-type": "application/x-protobuf",
            "user-agent": "linkspan-tracing",
            **({"content-encoding": "gzip"} if self._gzips else {}),
            **destination.headers,
        }
        self._connection: http.client.HTTPConnection | None = None
        self._closed = False
        self._sending = threading.Lock()

    def send(self, request: bytes, timeout_seconds: float) -> Answer:
        """Send a request in protobuf, once. Never raises.

        Each read and write may take ``timeout_seconds``; a receiver that answers byte by byte can
        take longer.
        """
        deadline = time.monotonic() + timeout_seconds
        body = gzip.compress(request, _QUICK) if self._gzips else request
        with self._sending:
            return self._send(body, deadline)

    def _send(self, body: bytes, deadline: float) -> Answer:
        while True:
            known = self._connection
            try:
                return self._post(body, max(0.001, deadline - time.monotonic()))
            except Exception as error:  # noqa: BLE001 - a connection or an answer can break in any way
                self._drop_connection()
                stale = known is not None and isinstance(
                    error, ConnectionError | http.client.RemoteDisconnected
                )
                if stale and not self._closed and time.monotonic() < deadline:
                    continue  # the receiver has closed a connection that was not used for a while
                return Answer(
                    taken=False,
                    again=isinstance(error, OSError | http.client.HTTPException),
                    words=f"{type(error).__name__}: {error}",
                )

    def _post(self, body: bytes, timeout_seconds: float) -> Answer:
        if self._closed:
            return Answer(taken=False, words="closed")
        connection = self._connection
        if connection is None:
            connection, self._target = _connect(self._address, self._tls)
            self._connection = connection
        connection.timeout = timeout_seconds
        if connection.sock is not None:
            connection.sock.settimeout(timeout_seconds)
        connection.request("POST", self._target, body, self._headers)
        response = connection.getresponse()
        content = response.read(_LONGEST_RESPONSE_BYTES)
        if not response.isclosed():
            self._drop_connection()
        if response.status // 100 == _TAKEN:
            return taken(content)
        return Answer(
            taken=False,
            again=response.status in _AGAIN,
            pause_seconds=_pause_of(response.getheader("retry-after")),
            words=f"HTTP {response.status} {response.reason}",
        )

    def close(self) -> None:
        """Close the connection; a request that runs ends with an error."""
        self._closed = True
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                # Closing alone would not wake the thread that reads.
                connection.sock.shutdown(socket.SHUT_RDWR)
        if self._sending.acquire(timeout=_CLOSING_SECONDS):
            self._drop_connection()
            self._sending.release()

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()


def _connect(
    address: SplitResult, tls: ssl.SSLContext | None
) -> tuple[http.client.HTTPConnection, str]:
    """Return a connection that is not open yet, and what to ask it for."""
    host = address.hostname or ""
    port = address.port
    target = (address.path or "/") + (f"?{address.query}" if address.query else "")
    proxy = None
    if not urllib.request.proxy_bypass(f"{host}:{port}" if port else host):
        proxy = urllib.request.getproxies().get(address.scheme)
    if proxy is None:
        if tls is not None:
            return http.client.HTTPSConnection(host, port, context=tls), target
        return http.client.HTTPConnection(host, port), target
    via = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if tls is not None:
        secure = http.client.HTTPSConnection(via.hostname or "", via.port, context=tls)
        secure.set_tunnel(host, port)
        return secure, target
    return http.client.HTTPConnection(via.hostname or "", via.port), address.geturl()


def _tls(destination: Destination) -> ssl.SSLContext:
    context = ssl.create_default_context(
        cafile=None if destination.certificate is None else str(destination.certificate)
    )
    if destination.client_certificate is not None:
        context.load_cert_chain(destination.client_certificate, destination.client_key)
    return context


def _pause_of(retry_after: str | None) -> float | None:
    """Return what ``Retry-After`` asks for, in seconds; None if that is nothing that can be read.

    Source: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after.
    """
    if retry_after is None:
        return None
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        moment = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())
