"""A server that sends back what it gets, with and without tunnels, on one port.

Run as `python -m bench.tunnel.echo`. Prints a ready line; ends with its standard input.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator
from typing import Any, Final

import grpc
import uvloop

from linkspan_process.ready import ready_line
from linkspan_tunnel import TunnelServer

SERVICE: Final = "bench.Echo"


async def once(request: bytes, context: Any) -> bytes:
    """Send it back."""
    del context
    return request


async def stream_one(request: bytes, context: Any) -> AsyncGenerator[bytes, None]:
    """Send it back as a stream of one."""
    del context
    yield request


async def stream_two(request: bytes, context: Any) -> AsyncGenerator[bytes, None]:
    """Send it back twice."""
    del context
    yield request
    yield request


async def serve() -> None:
    """Serve until standard input ends."""
    server = TunnelServer(grpc.aio.server(options=(("grpc.so_reuseport", 0),)))
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Once": grpc.unary_unary_rpc_method_handler(once),
        "One": grpc.unary_stream_rpc_method_handler(stream_one),
        "Two": grpc.unary_stream_rpc_method_handler(stream_two),
    }
    server.add_registered_method_handlers(SERVICE, handlers)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(ready_line({"grpc": f"127.0.0.1:{port}"}) + "\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    uvloop.run(serve())
