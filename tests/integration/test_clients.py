"""Stock clients that nobody here wrote, against `linkspan run` as a user starts it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from tests.peers.node import install, node_binary
from tests.support.processes import REPOSITORY, clean_environ, linkspan

PEERS = REPOSITORY / "tests" / "peers"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address that the ready line of `linkspan run` names."""
    data = str(tmp_path_factory.mktemp("data"))
    with linkspan("run", "--port", "0", "--session-port", "0", "--data", data) as running:
        yield running.wait_ready()["mcp"]
        assert running.stop() == 0


def answer_of(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=50, env=clean_environ(), check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_official_python_client_connects_lists_and_calls(address: str) -> None:
    answer = answer_of([sys.executable, str(PEERS / "python" / "client.py"), address, "watch"])
    assert answer["list"] is True
    assert answer["add"] == "5"


def test_the_official_python_client_calls_without_a_session(address: str) -> None:
    answer = answer_of([sys.executable, str(PEERS / "python" / "client.py"), address, "modern"])
    assert answer == {"add": "5", "cancel": "cancelled"}


@pytest.mark.timeout(180)  # the first run installs the client
def test_the_official_typescript_client_connects_lists_and_calls(address: str) -> None:
    script = install(PEERS / "typescript") / "client.mjs"
    answer = answer_of([str(node_binary()), str(script), address])
    assert answer["serverInfo"]["name"] == "everything"
    assert answer["protocolVersion"] == "2025-11-25"
    assert {"add", "echo"} <= set(answer["tools"])
    assert json.dumps(answer["add"]).count("5")


def test_the_client_of_fastmcp_connects_lists_calls_reads_and_prompts(address: str) -> None:
    answer = answer_of([sys.executable, str(PEERS / "python" / "fastmcp_client.py"), address])
    assert answer["listed"] is True
    assert answer["add"] == "5"
    assert answer["progress"] == [1.0, 2.0, 3.0]
    assert answer["resource"].startswith("This is the content")
    assert answer["messages"] == 1


@pytest.mark.timeout(180)  # the first run installs the Inspector
@pytest.mark.parametrize("era", [(), ("--protocol-era", "modern")], ids=["handshake", "modern"])
def test_the_command_line_of_the_inspector_lists_and_calls(
    address: str, era: tuple[str, ...]
) -> None:
    launcher = install(PEERS / "inspector") / "node_modules" / "@modelcontextprotocol" / "inspector"
    command = [
        str(node_binary()),
        str(launcher / "clients" / "launcher" / "build" / "index.js"),
        *("--cli", address, "--transport", "http", *era),
    ]
    listed = answer_of([*command, "--method", "tools/list"])
    assert "add" in [tool["name"] for tool in listed["tools"]]
    call = (
        "--method",
        "tools/call",
        "--tool-name",
        "add",
        "--tool-arg",
        "a=2",
        "--tool-arg",
        "b=3",
    )
    assert answer_of([*command, *call])["content"][0]["text"] == "5"
