"""What hosted code or a rude client does to one request, it does to no other."""

import socket
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from tests.requirements import requirement
from tests.support.mcp_http import HttpSession, JsonObject, call, http_session
from tests.support.processes import REPOSITORY
from tests.support.stack import Stack, running_stack
from tests.support.waiting import PATIENCE_SECONDS, wait_until

RAISING = str(REPOSITORY / "tests" / "apps" / "raising.py") + ":server"
FLOOD = str(REPOSITORY / "tests" / "apps" / "flood.py") + ":mcp"


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("data"), app=RAISING) as stack:
        yield stack


def ask(way: str) -> JsonObject:
    return {"jsonrpc": "2.0", "id": 1, "method": "faulty/ask", "params": {"way": way}}


@requirement("error.handler")
@pytest.mark.parametrize("way", ["exit", "unusual", "group", "interrupt"])
def test_no_handler_ends_the_server_whatever_it_raises(faulty: Stack, way: str) -> None:
    note = {"jsonrpc": "2.0", "method": "notifications/faulty", "params": {"way": way}}
    with http_session(faulty.mcp) as session:
        answer = session.post(ask(way))
        assert answer.json()["error"]["code"] == -32603
        assert "secret" not in answer.text
        assert session.post(note).status_code == 202
        assert session.post(ask("none")).json()["result"]["fine"] is True


@requirement("session.disconnect")
def test_what_a_client_asked_for_before_it_left_is_done(stack: Stack) -> None:
    for _ in range(15):
        with http_session(stack.mcp) as session:
            leave_at_once(session, "DELETE")
            wait_until(partial(is_gone, session), "the end of the session")


def leave_at_once(session: HttpSession, method: str) -> None:
    """Send a request and close the connection without waiting for anything."""
    address = urlsplit(session.address)
    head = "".join(f"{name}: {value}\r\n" for name, value in session.headers.items())
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(
            f"{method} /mcp HTTP/1.1\r\nhost: {address.netloc}\r\n{head}\r\n".encode()
        )


def is_gone(session: HttpSession) -> bool:
    return session.post({"jsonrpc": "2.0", "id": 1, "method": "ping"}).status_code == 404


@requirement("stream.cut-off")
def test_the_connection_of_a_client_that_takes_nothing_is_broken(tmp_path: Path) -> None:
    with (
        running_stack(
            tmp_path,
            app=FLOOD,
            worker_arguments=("--stall-timeout", "2"),
            session_arguments=("--max-backlog", "256k"),
        ) as stack,
        http_session(stack.mcp) as session,
        reader_of_nothing(session) as connection,
    ):
        connection.settimeout(PATIENCE_SECONDS)
        wait_until(
            lambda: any("cut off a client" in line for line in stack.worker.errors), "the log of it"
        )
        with pytest.raises(ConnectionResetError):
            read_all(connection)
        assert stack.worker.stop() == 0


def read_all(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


@contextmanager
def reader_of_nothing(session: HttpSession) -> Generator[socket.socket]:
    address = urlsplit(session.address)
    body = httpx2.Request("POST", session.address, json=call("flood", {"chunks": 2000})).read()
    head = "".join(f"{name}: {value}\r\n" for name, value in session.headers.items())
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(
            f"POST /mcp HTTP/1.1\r\nhost: {address.netloc}\r\n{head}content-type: application/json"
            f"\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        yield connection


@requirement("modern.listen")
def test_subscriptions_outlive_the_request_timeout_and_end_cleanly_at_a_drain(
    tmp_path: Path,
) -> None:
    meta: JsonObject = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params: JsonObject = {"_meta": meta, "notifications": {"toolsListChanged": True}}
    message: JsonObject = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "subscriptions/listen",
        "params": params,
    }
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "subscriptions/listen",
    }
    short = ("--request-timeout", "3")  # in which a session is opened, too
    with (
        running_stack(tmp_path, worker_arguments=short, session_arguments=short) as stack,
        httpx2.stream("POST", stack.mcp, json=message, headers=headers, timeout=20) as response,
    ):
        lines = response.iter_lines()
        assert "acknowledged" in next(line for line in lines if line.startswith("data:"))
        # Once a request that began later has run out of time, the subscription would have, too.
        with http_session(stack.mcp) as session:
            late = session.post(call("sleep", {"seconds": 30}))
            assert "-32001" in late.text
        assert stack.worker.stop() == 0
        assert [line for line in lines if line.startswith("data:")] == []


@requirement("store.private")
def test_the_store_is_readable_by_its_owner_alone(stack: Stack) -> None:
    for path in stack.data.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@requirement("http.slow-body")
def test_a_body_that_does_not_arrive_is_given_up(probe: Stack) -> None:
    with probe.with_worker("--stall-timeout", "0.3") as stack:
        address = urlsplit(stack.mcp)
        with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
            connection.sendall(
                f"POST /mcp HTTP/1.1\r\nhost: {address.netloc}\r\ncontent-type: application/json\r\n"
                "content-length: 100\r\n\r\n{".encode()
            )
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":-32600' in answer
