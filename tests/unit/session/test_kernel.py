"""The SDK's kernel as it is driven here: whatever a handler does leaves as one answer."""

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import pytest
from fastmcp import FastMCP
from mcp.server import MCPServer, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import RequestParams

from linkspan_contract.envelope import INTERNAL_ERROR, JsonObject, Request
from linkspan_session.answer_streams import PlainStream
from linkspan_session.answers import Answer, Failed, Result
from linkspan_session.exchange import Exchange
from linkspan_session.kernel import (
    Call,
    HostedServer,
    client_of,
    handshake_of,
    hosting,
    lowlevel_server,
)
from linkspan_session.outlets import SilentOutlet
from linkspan_session.store import Handshake

Handler = Callable[[ServerRequestContext[Any], RequestParams], Awaitable[Any]]

METHOD = "test/method"
CLIENT_INFO = {"name": "a client", "version": "1.2"}
INITIALIZE: JsonObject = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"sampling": {}},
    "clientInfo": CLIENT_INFO,
}
ENVELOPE: JsonObject = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def serving(handler: Handler) -> Server[Any]:
    server: Server[Any] = Server("kernel")
    server.add_request_handler(METHOD, RequestParams, handler)
    return server


def call_with(params: JsonObject | None) -> Call:
    return Call(SilentOutlet(PlainStream(Exchange())), request_id=1, params=params, headers=())


async def in_session(hosted: HostedServer, method: str, params: JsonObject | None) -> Answer:
    connection = hosted.connect("id", SilentOutlet(PlainStream(Exchange())))
    for each, with_params in (("initialize", INITIALIZE), (method, params)):
        answer = await hosted.answer(connection, call_with(params), Request(1, each, with_params))
        if each == method:
            return answer
    raise AssertionError


async def alone(hosted: HostedServer, method: str, params: JsonObject | None) -> Answer:
    enveloped: JsonObject = {**(params or {}), "_meta": ENVELOPE}
    return await hosted.answer_alone(call_with(enveloped), Request(1, method, enveloped))


Asking = Callable[[HostedServer, str, JsonObject | None], Awaitable[Answer]]
BOTH_ERAS = pytest.mark.parametrize("ask", [in_session, alone], ids=["handshake", "modern"])


def answer_of(handler: Handler, ask: Asking, method: str = METHOD) -> Answer:
    async def main() -> Answer:
        async with asyncio.timeout(30), hosting(serving(handler)) as hosted:
            return await ask(hosted, method, {})

    return asyncio.run(main())


@BOTH_ERAS
def test_what_a_handler_returns_is_the_result(ask: Asking) -> None:
    async def handler(ctx: ServerRequestContext[Any], params: RequestParams) -> dict[str, Any]:
        return {"text": "hi"}

    answer = answer_of(handler, ask)
    assert isinstance(answer, Result)
    assert answer.value["text"] == "hi"


class SomebodysError(Exception):
    pass


def sys_exit() -> NoReturn:
    sys.exit("secret")


def value_error() -> NoReturn:
    raise ValueError("secret")


def time_out() -> NoReturn:
    raise TimeoutError("secret")


def cancelled() -> NoReturn:
    raise asyncio.CancelledError("secret")


def group() -> NoReturn:
    raise ExceptionGroup("secret", [SomebodysError("secret")])


@BOTH_ERAS
@pytest.mark.parametrize("fail", [value_error, sys_exit, time_out, cancelled, group])
def test_what_a_handler_raises_stays_in_the_log(
    fail: Callable[[], NoReturn], ask: Asking, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(ctx: ServerRequestContext[Any], params: RequestParams) -> None:
        fail()

    with caplog.at_level(logging.ERROR):
        answer = answer_of(handler, ask)
    assert isinstance(answer, Failed)
    assert (answer.code, answer.message) == (INTERNAL_ERROR, "Internal server error")
    assert isinstance(answer.data, dict)
    assert answer.data["correlationId"] in caplog.text  # pyright: ignore[reportUnknownMemberType]
    assert "secret" in caplog.text


@BOTH_ERAS
def test_an_error_that_a_handler_means_is_the_answer(ask: Asking) -> None:
    async def handler(ctx: ServerRequestContext[Any], params: RequestParams) -> None:
        raise MCPError(code=-32042, message="out of paper", data={"tray": 2})

    assert answer_of(handler, ask) == Failed(-32042, "out of paper", {"tray": 2})


@BOTH_ERAS
def test_cancelling_the_task_passes_through(ask: Asking) -> None:
    async def main() -> None:
        begun = asyncio.Event()

        async def handler(ctx: ServerRequestContext[Any], params: RequestParams) -> None:
            begun.set()
            await asyncio.Event().wait()

        async with asyncio.timeout(30), hosting(serving(handler)) as hosted:
            task = asyncio.ensure_future(ask(hosted, METHOD, {}))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


@BOTH_ERAS
def test_an_unknown_method_and_bad_parameters_have_their_codes(ask: Asking) -> None:
    async def handler(ctx: ServerRequestContext[Any], params: RequestParams) -> None:
        return None

    unknown = answer_of(handler, ask, "test/other")
    assert isinstance(unknown, Failed)
    assert unknown.code == -32601
    bad = answer_of(handler, ask, "tools/call")
    assert isinstance(bad, Failed)
    assert bad.code == -32602


def test_after_the_call_its_handler_cannot_speak_for_it() -> None:
    async def main() -> None:
        exchange = Exchange()
        call = Call(SilentOutlet(PlainStream(exchange)), request_id=1, params=None, headers=())
        call.close()
        assert not call.can_send_request
        with pytest.raises(MCPError):
            await call.send_raw_request("roots/list", None)
        await call.notify("notifications/message", {})

    asyncio.run(main())


def test_a_session_is_built_anew_from_its_handshake() -> None:
    async def main() -> None:
        seen: list[tuple[str, str | None]] = []

        async def handler(ctx: ServerRequestContext[Any], params: RequestParams) -> None:
            client = ctx.session.client_params
            seen.append((ctx.protocol_version, client.client_info.name if client else None))

        outlet = SilentOutlet(PlainStream(Exchange()))
        async with hosting(serving(handler)) as hosted:
            connection = hosted.connect("id", outlet)
            assert handshake_of(connection) is None
            opening = Request(1, "initialize", INITIALIZE)
            assert isinstance(await hosted.answer(connection, call_with(None), opening), Result)
            connection.initialized.set()
            handshake = handshake_of(connection)
            assert handshake is not None
            assert (handshake.protocol_version, handshake.initialized) == ("2025-06-18", True)
            assert json.loads(handshake.params_json) == INITIALIZE
            assert client_of(handshake) == ("a client", "1.2")

            again = hosted.reconnect("id", outlet, handshake)
            assert handshake_of(again) == handshake
            answer = await hosted.answer(again, call_with(None), Request(2, METHOD, None))
            assert isinstance(answer, Result)
        assert seen == [("2025-06-18", "a client")]

    asyncio.run(main())


@pytest.mark.parametrize("params", ["{}", '{"clientInfo":{}}'])
def test_a_handshake_without_a_name_names_nobody(params: str) -> None:
    assert client_of(Handshake("2025-06-18", params, initialized=False)) == ("", "")


def test_every_kind_of_server_is_recognised_and_nothing_else() -> None:
    lowlevel: Server[Any] = Server("low")
    assert lowlevel_server(lowlevel) is lowlevel
    for wrapped in (MCPServer("sdk"), FastMCP("fast")):
        found = lowlevel_server(wrapped)
        assert isinstance(found, Server)
        assert found.name == wrapped.name
    for other in (None, object(), "mcp", Server, MCPServer):
        assert lowlevel_server(other) is None
