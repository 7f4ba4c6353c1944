"""The ASGI application: who may ask, and which path goes where."""

import logging
from http import HTTPStatus

from linkspan_traces.otlp.http import TRACES_PATH, OtlpHttp
from linkspan_traces.web.api import API_PATH, Api
from linkspan_traces.web.exchange import ClientGoneError, Exchange, Receive, Scope, Send
from linkspan_traces.web.origin import refusal
from linkspan_traces.web.pages import Pages

logger = logging.getLogger(__name__)


class TracesApp:
    """`/v1/traces` for programs, `/api/` for the page and the command line, the page for people."""

    def __init__(self, otlp: OtlpHttp, api: Api, pages: Pages) -> None:
        self._otlp = otlp
        self._api = api
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        exchange = Exchange(scope, receive, send)
        try:
            await self._route(exchange)
        except ClientGoneError:
            logger.debug("a client left before its answer")
        except Exception:
            logger.exception("a request for %s failed", exchange.path[:200])
            if not exchange.begun:
                await exchange.json(
                    HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "this failed; the log says why"}
                )

    async def _route(self, exchange: Exchange) -> None:
        why = refusal(exchange.header("host"), exchange.header("origin"))
        if why:
            await exchange.json(HTTPStatus.FORBIDDEN, {"error": why})
        elif exchange.path == TRACES_PATH:
            await self._otlp(exchange)
        elif exchange.path.startswith(API_PATH):
            await self._api(exchange)
        elif exchange.path == "/healthz":
            await exchange.json(HTTPStatus.OK, {"status": "alive"})
        else:
            await self._pages(exchange)
