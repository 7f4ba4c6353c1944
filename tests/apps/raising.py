"""A server whose handlers fail in every way that Python has."""

import sys
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp_types import NotificationParams, RequestParams
from pydantic import BaseModel


class Unusual(BaseException):
    """An exception that `except Exception` does not see."""


class Way(RequestParams):
    """In which way to fail."""

    way: str


class NotedWay(NotificationParams):
    """In which way to fail."""

    way: str


class Fine(BaseModel):
    """The answer of a handler that does not fail."""

    fine: bool = True


def fail(way: str) -> None:
    """Fail in a way, or not."""
    match way:
        case "exit":
            sys.exit(3)
        case "unusual":
            raise Unusual("unusual secret")
        case "group":
            raise BaseExceptionGroup("group", [SystemExit(4), Unusual()])
        case "interrupt":
            raise KeyboardInterrupt
        case _:
            return


async def on_request(_: ServerRequestContext[Any, Any], params: Way) -> Fine:
    """Fail, or say that all is fine."""
    fail(params.way)
    return Fine()


async def on_note(_: ServerRequestContext[Any, Any], params: NotedWay) -> None:
    """Fail, or do nothing."""
    fail(params.way)


server: Server[Any] = Server("faulty")
server.add_request_handler("faulty/ask", Way, on_request)
server.add_notification_handler("notifications/faulty", NotedWay, on_note)
