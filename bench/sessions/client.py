"""An MCP client that costs little and believes nothing: every answer is checked.

Above lie the benches; below lies `bench.http_load`.
"""

import itertools
import json
from typing import Any, Final, cast

from bench.http_load import Connection, HttpAnswer

VERSION: Final = "2025-11-25"

_ACCEPT: Final = (
    b"Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n"
)

INITIALIZE: Final = {
    "protocolVersion": VERSION,
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "1"},
}
"""The params of `initialize`."""

INITIALIZED: Final = json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"})


class WrongAnswerError(Exception):
    """An answer is not what it must be.

    Attributes:
        status: Its HTTP status.
    """

    def __init__(self, asked: str, answer: HttpAnswer) -> None:
        super().__init__(f"{asked}: {answer.status} {answer.body[:500]!r}")
        self.status = answer.status


class Client:
    """A client on one connection, with one request at a time, in as many sessions as it likes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ids = itertools.count(1)

    async def initialize(self) -> str:
        """Have a session made, and say no more; returns its id."""
        number = next(self._ids)
        answer = await self._connection.post(_ACCEPT, _request(number, "initialize", INITIALIZE))
        result = _result(answer, number, "initialize")
        session_id = answer.headers.get(b"mcp-session-id", b"")
        if result.get("protocolVersion") != VERSION or not session_id:
            raise WrongAnswerError("initialize", answer)
        return session_id.decode()

    async def open(self) -> str:
        """Have a session made, with the whole handshake; returns its id."""
        session_id = await self.initialize()
        answer = await self._connection.post(_headers(session_id), INITIALIZED.encode())
        if answer.status != 202 or answer.body:  # noqa: PLR2004 - Accepted
            raise WrongAnswerError("notifications/initialized", answer)
        return session_id

    async def call(self, session_id: str, tool: str, **arguments: int | str) -> int:
        """Call a tool that returns a number, and return that.

        Raises:
            WrongAnswerError: It answered anything else.
        """
        number = next(self._ids)
        params = {"name": tool, "arguments": arguments}
        body = _request(number, "tools/call", params)
        answer = await self._connection.post(_headers(session_id), body)
        content = _result(answer, number, tool).get("structuredContent", {})
        value = content.get("result")
        if not isinstance(value, int):
            raise WrongAnswerError(tool, answer)
        return value

    async def echo(self, session_id: str) -> None:
        """Call `echo`, and check what it says."""
        await self._give_back(session_id, "echo")

    async def keep(self, session_id: str) -> None:
        """Call `keep`, and check what it says."""
        await self._give_back(session_id, "keep")

    async def _give_back(self, session_id: str, tool: str) -> None:
        value = next(self._ids)
        said = await self.call(session_id, tool, value=value)
        if said != value:
            raise AssertionError(f"{tool}({value}) said {said}")


def _headers(session_id: str) -> bytes:
    return b"%sMcp-Session-Id: %s\r\nMcp-Protocol-Version: %s\r\n" % (
        _ACCEPT,
        session_id.encode(),
        VERSION.encode(),
    )


def _request(number: int, method: str, params: Any) -> bytes:
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    return json.dumps(message).encode()


def _result(answer: HttpAnswer, number: int, asked: str) -> dict[str, Any]:
    if answer.status != 200:  # noqa: PLR2004 - OK
        raise WrongAnswerError(asked, answer)
    message = json.loads(_message(answer))
    result = message.get("result")
    if message.get("id") != number or not isinstance(result, dict):
        raise WrongAnswerError(asked, answer)
    return cast("dict[str, Any]", result)


def _message(answer: HttpAnswer) -> bytes:
    """Return the one message of an answer; of an event stream, the last event's."""
    if answer.headers.get(b"content-type", b"").startswith(b"text/event-stream"):
        lines = answer.body.splitlines()
        return next(line[5:] for line in reversed(lines) if line.startswith(b"data:"))
    return answer.body
