"""The trace backend's API, as a command asks it. Every failure leaves here as a `CallError`.

CallError              one call failed; the message tells a person what to do about it
├── NoSuchTraceError   there is no such trace
└── ManyTracesError    several traces begin so
"""

import http.client
import json
from collections.abc import Generator, Mapping
from typing import Any, Final, cast
from urllib.parse import quote, urlencode, urlsplit

_SECONDS: Final = 10.0
_TAIL_SECONDS: Final = 60.0
"""How long a stream may be silent; the backend says something four times as often."""

_OK: Final = 200
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409

Answer = dict[str, Any]


class CallError(Exception):
    """A call failed."""


class NoSuchTraceError(CallError):
    """There is no such trace."""


class ManyTracesError(CallError):
    """Several traces begin so."""


class TracesClient:
    """The backend at one address."""

    def __init__(self, url: str) -> None:
        self._url = url
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or 80

    def list(self, search: Mapping[str, str]) -> Answer:
        """Return a page of traces and the cursor for more."""
        return self._get(f"/api/traces?{urlencode(search)}")

    def show(self, trace_id: str) -> Answer:
        """Return one trace as a waterfall.

        Args:
            trace_id: Its id, or how that begins.
        """
        return self._get(f"/api/traces/{quote(trace_id, safe='')}")

    def tail(self, search: Mapping[str, str]) -> Generator[Answer]:
        """Give traces as they come, each once it has settled; ends when the backend does."""
        connection, response = self._open(
            f"/api/tail?{urlencode({**search, 'settled': '1'})}", _TAIL_SECONDS
        )
        try:
            name = ""
            for raw in response:
                line = raw.decode().rstrip("\n")
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: ") and name == "trace":
                    yield json.loads(line.removeprefix("data: "))
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()

    def _get(self, path: str) -> Answer:
        connection, response = self._open(path, _SECONDS)
        try:
            return cast("Answer", json.loads(response.read()))
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()

    def _open(
        self, path: str, timeout_seconds: float
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Ask; returns a connection to close and an answer that is good.

        Raises:
            CallError: There is no good answer.
        """
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_seconds)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            if response.status == _OK:
                return connection, response
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(error) from None
        connection.close()
        raise self._failure(response.status, body)

    def _failure(self, status: int, body: bytes) -> CallError:
        try:
            told: object = json.loads(body)
        except ValueError:
            told = None
        if not isinstance(told, dict) or "error" not in told:
            return CallError(f"{self._url} answers {status}, and is no trace backend; see --url")
        answer = cast("Answer", told)
        words = str(answer["error"])
        if status == _NOT_FOUND:
            similar = _ids(answer, "similar")
            hint = f"; did you mean {' or '.join(similar)}?" if similar else "; see `list`"
            return NoSuchTraceError(words + hint)
        if status == _CONFLICT:
            return ManyTracesError(f"{words}: {', '.join(_ids(answer, 'candidates'))}")
        return CallError(words)

    def _unreachable(self, error: Exception) -> CallError:
        if isinstance(error, TimeoutError):
            return CallError(f"{self._url} does not answer")
        if isinstance(error, ConnectionRefusedError):
            return CallError(
                f"nothing listens at {self._url}; start `linkspan run` or `linkspan traces serve`, "
                "or name another with --url"
            )
        return CallError(f"{self._url} cannot be asked: {error}")


def _ids(answer: Answer, name: str) -> list[str]:
    ids: object = answer.get(name)
    return [str(each) for each in cast("list[object]", ids)] if isinstance(ids, list) else []
