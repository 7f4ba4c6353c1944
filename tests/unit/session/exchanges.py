"""Reading exchanges to their end."""

import asyncio
from collections.abc import AsyncIterator

from linkspan.session.v1.session_service_pb2 import HandleRequestResponse
from linkspan_session.exchange import Exchange

PATIENCE_SECONDS = 30


async def events(exchange: Exchange) -> AsyncIterator[HandleRequestResponse]:
    """Take the events as they come."""
    while (event := await exchange.take()) is not None:
        yield event


async def read_all(exchange: Exchange) -> list[HandleRequestResponse]:
    """Return all events, once the stream has ended."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return [event async for event in events(exchange)]
