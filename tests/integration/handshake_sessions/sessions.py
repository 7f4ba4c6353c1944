"""For tests of sessions as MCP 2025-03-26 to 2025-11-25 have them, over HTTP: what they all need.

The codes of errors that sessions answer with, and which sessions are on record.
"""

import asyncio

from tests.support.session_calls import service_at, session_ids
from tests.support.stack import Stack

INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
CONNECTION_CLOSED = -32000
REQUEST_CANCELLED = -32800


def ids_on_record(stack: Stack) -> set[str]:
    async def main() -> set[str]:
        async with service_at(stack.grpc) as service:
            return set(await session_ids(service))

    return asyncio.run(main())
