"""A process that takes spans over OTLP/gRPC and forgets them; its first line is its address."""

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc


def main() -> None:
    """Serve until standard input ends."""

    def take(request: bytes, context: grpc.ServicerContext) -> bytes:
        del request, context
        return b""

    make: Any = grpc.unary_unary_rpc_method_handler
    server = grpc.server(ThreadPoolExecutor(2))
    name = "opentelemetry.proto.collector.trace.v1.TraceService"
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(name, {"Export": make(take)}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"http://127.0.0.1:{port}", flush=True)
    sys.stdin.read()
    server.stop(None).wait()


if __name__ == "__main__":
    main()
