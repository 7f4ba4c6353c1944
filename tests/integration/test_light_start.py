"""What a start loads, seen in real processes: a worker needs neither the MCP SDK nor what sends spans.

Python itself says what is imported (https://docs.python.org/3/using/cmdline.html#envvar-PYTHONPROFILEIMPORTTIME).
"""

import subprocess
import sys
from typing import Any

import httpx2
from tests.support.processes import REPOSITORY, ServiceProcess, clean_environ, linkspan

SDK = {"mcp", "mcp_types", "pydantic", "pydantic_core", "starlette", "uvicorn", "anyio"}
"""The SDK, and what it brings."""

CREDENTIALS = {"linkspan_auth", "jwt", "cryptography", "httpx2"}

SENDING = {"linkspan_tracing.exporter", "linkspan_tracing.over_grpc", "linkspan_tracing.over_http"}

NOWHERE = "127.0.0.1:1"
"""No session server is there, which stops no worker from serving."""

MODERN = {
    "content-type": "application/json",
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/call",
}
CALL: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": {}}}


def loaded_by(process: ServiceProcess) -> set[str]:
    """Return the modules that a process has loaded until it ended."""
    lines = [line for line in process.errors if line.startswith("import time:")]
    assert len(lines) > 100
    return {line.rpartition("|")[2].strip() for line in lines}


def packages(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def test_a_worker_serves_without_the_sdk() -> None:
    words = ("worker", "--port", "0", "--session", NOWHERE)
    with linkspan(*words, env={"PYTHONPROFILEIMPORTTIME": "1"}) as process:
        address = process.wait_ready()["mcp"]
        refused = httpx2.post(address, headers=MODERN, json=CALL, timeout=30)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, -32602)
        assert process.stop() == 0
    loaded = loaded_by(process)
    assert "linkspan_worker.endpoint" in loaded
    assert not packages(loaded) & (SDK | CREDENTIALS)
    assert not loaded & SENDING


def test_a_worker_that_sends_spans_loads_one_way_to_send_them() -> None:
    env = {
        "PYTHONPROFILEIMPORTTIME": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{NOWHERE}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }
    with linkspan("worker", "--port", "0", "--session", NOWHERE, env=env) as process:
        process.wait_ready()
        assert process.stop() == 0
    loaded = loaded_by(process)
    assert not packages(loaded) & (SDK | CREDENTIALS)
    assert loaded & SENDING == {"linkspan_tracing.exporter", "linkspan_tracing.over_http"}


def test_who_starts_all_processes_loads_neither_the_sdk_nor_grpc() -> None:
    code = (
        "import sys, linkspan_cli.main, linkspan_cli.supervisor\n"
        "linkspan_cli.supervisor.run_together = print\n"
        "linkspan_cli.main.main(['run', '--port', '0', '--session-port', '0', '--traces-port', '0'])\n"
        "print(sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=clean_environ(),
        cwd=REPOSITORY,
        timeout=45,
        check=True,
    )
    options, modules = done.stdout.splitlines()
    assert options.startswith("RunOptions(")
    loaded = {
        module.partition(".")[0] for module in modules.strip("[]").replace("'", "").split(", ")
    }
    assert "linkspan_cli" in loaded
    assert not loaded & (SDK | CREDENTIALS | {"grpc", "opentelemetry", "sqlite3"})
