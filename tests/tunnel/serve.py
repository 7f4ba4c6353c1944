"""A process that serves scripted calls with and without tunnels; ends with its standard input."""

import asyncio
import sys

import grpc
from tests.tunnel.scripted import OPTIONS, Scripted

from linkspan_tunnel import TunnelServer


async def main(port: int) -> None:
    """Serve on a port (0 for any), and print it."""
    server = TunnelServer(grpc.aio.server(options=OPTIONS))
    server.add_generic_rpc_handlers((Scripted().handlers(),))
    print(server.add_insecure_port(f"127.0.0.1:{port}"), flush=True)
    await server.start()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
