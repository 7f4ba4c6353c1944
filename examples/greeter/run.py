"""Two plain gRPC services in two processes, one client, and the traces that come of it.

    python examples/greeter/run.py

Spans are received here and drawn, unless `OTEL_EXPORTER_OTLP_ENDPOINT` says where they are to go.
"""

import json
import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
from opentelemetry import trace

from linkspan_propagation import set_up_telemetry, traced_channel
from linkspan_propagation.testing import OtlpReceiver, draw_tree

HERE = Path(__file__).parent


def encode(request: dict[str, str]) -> bytes:
    """Write a request."""
    return json.dumps(request).encode()


def decode(response: bytes) -> str:
    """Read the greeting out of a response."""
    greeting: str = json.loads(response)["greeting"]
    return greeting


@contextmanager
def service(script: str, *arguments: str, environ: Mapping[str, str]) -> Generator[str]:
    """Run a service while the block runs, and give its port."""
    with subprocess.Popen(  # noqa: S603 - what is run is in this folder
        [sys.executable, str(HERE / script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
    ) as process:
        yield process.stdout.readline().strip() if process.stdout else ""
        # Leaving the block closes its standard input, which ends it, and waits.


def call(port: str) -> None:
    """Greet once, greet in each language, and greet in one that is not there."""
    tracer = trace.get_tracer("client")
    with traced_channel(grpc.insecure_channel(f"127.0.0.1:{port}")) as channel:
        messages: Any = {
            "request_serializer": encode,
            "response_deserializer": decode,
        }
        connect: Any = channel
        greet = connect.unary_unary("/greeter.Greeter/Greet", **messages)
        greet_all = connect.unary_stream("/greeter.Greeter/GreetAll", **messages)
        with tracer.start_as_current_span("greet Ada"):
            print(greet({"language": "en", "name": "Ada"}, timeout=5))
        with tracer.start_as_current_span("greet Bob in every language"):
            print(*greet_all({"name": "Bob"}, timeout=5))
        with tracer.start_as_current_span("greet Eve in none"):
            try:
                greet({"language": "xx", "name": "Eve"}, timeout=5)
            except grpc.RpcError as error:
                failed: Any = error
                print(f"{failed.code().name}: {failed.details()}")
                for key, value in failed.trailing_metadata():
                    print(f"{key}: {value}")


def main() -> None:
    """Start both services, call, stop them, and draw what was exported."""
    with ExitStack() as stack:
        environ: dict[str, str] = {}
        receiver = None
        if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
            receiver = stack.enter_context(OtlpReceiver())
            environ = receiver.environ()
        telemetry = set_up_telemetry(
            "client", service_version="1.0", environ={**os.environ, **environ}
        )
        with (
            service("phrases.py", environ=environ) as phrases_port,
            service("greeter.py", phrases_port, environ=environ) as port,
        ):
            call(port)
        telemetry.shut_down(timeout_seconds=5)
        if receiver is not None:
            print(f"\n{draw_tree(receiver.spans())}")


if __name__ == "__main__":
    main()
