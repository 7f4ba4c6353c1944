"""The guard in other shapes: opentelemetry-instrumentation-grpc by choice, on one side, and under us.

As `test_trace_guard`: real processes, stopped before anything is looked at. With the published
interceptors a CLIENT and a SERVER span stand between `mcp.request` and the handler's span.
"""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from opentelemetry.instrumentation import auto_instrumentation
from tests.integration.test_trace_guard import CLIENT, outline
from tests.requirements import requirement
from tests.support.processes import clean_environ
from tests.support.stack import running_stack

from linkspan_propagation.testing import ExportedSpan, OtlpReceiver, assert_one_trace, traces

INIT: Final = "/linkspan.session.v1.SessionService/Init"
HANDLE: Final = "/linkspan.session.v1.SessionService/HandleRequest"


@contextmanager
def recorded(
    folder: Path,
    *,
    worker: tuple[str, ...],
    session: tuple[str, ...],
    env: dict[str, str] | None = None,
) -> Generator[list[ExportedSpan]]:
    """Let a client of the SDK do what it does, stop everything, and give what was exported."""
    with OtlpReceiver() as receiver:
        with running_stack(
            folder, receiver=receiver, worker_arguments=worker, session_arguments=session, env=env
        ) as stack:
            subprocess.run(
                [sys.executable, str(CLIENT), stack.mcp, "watch"],
                env={**clean_environ(), **receiver.environ()},
                stdout=subprocess.DEVNULL,
                timeout=45,
                check=True,
            )
            assert stack.worker.stop() == 0
            assert stack.session.stop() == 0
            assert not [line for line in stack.worker.errors if "Traceback" in line]
        yield receiver.spans()


def shape(client: str, server: str) -> dict[str, str]:
    """Return the trees that are expected, with what stands between worker and handler."""

    def between(depth: int, method: str, native: str) -> str:
        lines: list[str] = []
        if client == "contrib":
            lines.append("  " * depth + method)
            depth += 1
        lines.append("  " * depth + (method if server == "contrib" else native))
        return "\n".join(lines)

    deeper = "  " * (4 + (client == "contrib"))
    handle = between(3, HANDLE, "McpSession.handleRequest")
    beneath = "  " * (3 + (client == "contrib"))
    unsent = between(2, HANDLE, "McpSession.handleRequest")
    return {
        "initialize": (
            "do initialize\n  MCP send initialize\n    mcp.request\n"
            f"{between(3, INIT, 'McpSession.init')}\n{handle}\n{deeper}initialize"
        ),
        "add": (
            f"do add\n  MCP send tools/call add\n    mcp.request\n{handle}\n{deeper}tools/call add"
        ),
        "cancel": (
            "do cancel\n  MCP send tools/call count\n    mcp.request\n"
            f"{handle}\n{deeper}tools/call count"
        ),
        "unknown-session": f"do unknown-session\n  mcp.request\n{unsent}\n{beneath}session.restore",
    }


def check(spans: list[ExportedSpan], client: str, server: str) -> None:
    by_trace = traces(spans)
    for name, expected in shape(client, server).items():
        (root,) = [span for span in spans if span.name == f"do {name}"]
        assert "\n".join(outline(assert_one_trace(by_trace[root.trace_id]))) == expected
    for trace in by_trace.values():
        assert_one_trace(trace)


@requirement("trace.contrib", "trace.one")
@pytest.mark.parametrize(
    ("worker", "session"),
    [("contrib", "contrib"), ("native", "contrib"), ("contrib", "native")],
)
def test_with_the_published_interceptors_each_request_is_one_trace(
    tmp_path: Path, worker: str, session: str
) -> None:
    option = "--grpc-instrumentation"
    with recorded(tmp_path, worker=(option, worker), session=(option, session)) as spans:
        check(spans, worker, session)


@requirement("trace.contrib", "trace.one")
@pytest.mark.parametrize("chosen", ["native", "contrib"])
def test_under_opentelemetry_instrument_no_call_is_traced_twice(
    tmp_path: Path, chosen: str
) -> None:
    arguments = ("--grpc-instrumentation", chosen)
    # What `opentelemetry-instrument` does before it starts the program that it is given.
    patched = {"PYTHONPATH": str(Path(auto_instrumentation.__file__).parent)}
    with recorded(tmp_path, worker=arguments, session=arguments, env=patched) as spans:
        check(spans, chosen, chosen)
        assert not [span for span in spans if "Tunnel" in span.name or "Health" in span.name]
