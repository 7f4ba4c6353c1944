"""The second service: phrases by language, over sync gRPC. Run by `run.py`, or alone."""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from opentelemetry import trace

from linkspan_propagation import set_up_telemetry, traced_server

PHRASES = {"en": "Hello", "fr": "Bonjour", "de": "Hallo"}


def get(language: str, context: grpc.ServicerContext) -> str:
    """Return the phrase of a language."""
    with trace.get_tracer("phrases").start_as_current_span("look up"):
        phrase = PHRASES.get(language)
    if phrase is None:
        context.abort(grpc.StatusCode.NOT_FOUND, f"no phrase in {language!r}")
    return phrase


def main() -> None:
    """Serve on a free port until standard input ends; print the port when ready."""
    telemetry = set_up_telemetry("phrases", service_version="1.0", environ=os.environ)
    # This is all the tracing there is to the server: one line.
    server = traced_server(grpc.server(ThreadPoolExecutor(4)))
    handler: grpc.RpcMethodHandler[str, str] = grpc.unary_unary_rpc_method_handler(
        get,
        request_deserializer=json.loads,
        response_serializer=lambda phrase: json.dumps(phrase).encode(),
    )
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("phrases.Phrases", {"Get": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(grace=1).wait()
    telemetry.shut_down(timeout_seconds=5)


if __name__ == "__main__":
    main()
