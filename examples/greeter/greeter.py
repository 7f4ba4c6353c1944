"""The first service: greets by the phrases of the second, over grpc.aio. Run by `run.py`."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc

from linkspan_propagation import set_up_telemetry, traced_channel, traced_server

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


def encode(message: object) -> bytes:
    """Write a message."""
    return json.dumps(message).encode()


class Greeter:
    """Asks for a phrase for each greeting."""

    def __init__(self, channel: Any) -> None:
        self._get_phrase = channel.unary_unary(
            "/phrases.Phrases/Get",
            request_serializer=encode,
            response_deserializer=json.loads,
        )

    async def greet(self, request: dict[str, str], context: Context) -> dict[str, str]:
        """Greet `name` in `language`."""
        try:
            phrase = await self._get_phrase(request["language"], timeout=5)
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "")
        return {"greeting": f"{phrase}, {request['name']}!"}

    async def greet_all(
        self, request: dict[str, str], context: Context
    ) -> AsyncIterator[dict[str, str]]:
        """Greet `name` in each language."""
        for language in ("en", "fr", "de"):
            yield await self.greet({**request, "language": language}, context)


async def serve(phrases_port: str) -> None:
    """Serve on a free port until standard input ends; print the port when ready."""
    # This is all the tracing there is: one line for the server, one for the channel.
    server = traced_server(grpc.aio.server(), traceresponse=True)
    async with traced_channel(grpc.aio.insecure_channel(f"127.0.0.1:{phrases_port}")) as channel:
        greeter = Greeter(channel)
        messages: Any = {"request_deserializer": json.loads, "response_serializer": encode}
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Greet": grpc.unary_unary_rpc_method_handler(greeter.greet, **messages),
            "GreetAll": grpc.unary_stream_rpc_method_handler(greeter.greet_all, **messages),
        }
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("greeter.Greeter", methods)]
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        print(port, flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await server.stop(grace=1)


def main() -> None:
    """Serve, traced as the `OTEL_*` variables say."""
    telemetry = set_up_telemetry("greeter", service_version="1.0", environ=os.environ)
    asyncio.run(serve(sys.argv[1]))
    telemetry.shut_down(timeout_seconds=5)


if __name__ == "__main__":
    main()
