"""The trees of requests to one worker and one session server, as pictures.

Each is the same whoever makes the spans (`--tracing`), and whichever way calls go between worker and
session server: through a tunnel, or plainly, as they do to servers behind one name.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.requirements import requirement
from tests.support.fleet import Fleet, running_fleet
from tests.support.mcp_http import BOTH, HttpSession, JsonObject, call
from tests.trees.stage import Stage, initialize, staged

from linkspan_auth import append_key, make_key

ASKABLE: JsonObject = {"sampling": {}, "elicitation": {"form": {}}}
SAMPLED: JsonObject = {
    "role": "assistant",
    "model": "m",
    "content": {"type": "text", "text": "hi"},
}
LARGE = b" " * (4 * 1024 * 1024 + 1)


@dataclass
class Served:
    """A running session server, its worker, and what is played before them."""

    stage: Stage
    fleet: Fleet
    mcp: str
    worker_arguments: tuple[str, ...]
    targets: str

    @contextmanager
    def session(self, capabilities: JsonObject | None = None) -> Generator[HttpSession]:
        """Open a session at the worker."""
        with self.stage.session(self.mcp, capabilities) as session:
            yield session

    def add_worker(self, *arguments: str) -> str:
        """Start another worker of this kind; returns its address for MCP clients."""
        return self.fleet.add_worker(*self.worker_arguments, *arguments, targets=self.targets)


@pytest.fixture(scope="module", params=["lean", "sdk", "lean, plain calls"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    tracing, _, way = str(request.param).partition(", ")
    arguments = ("--tracing", tracing)
    store = f"sqlite:///{tmp_path_factory.mktemp('trees') / 'sessions.db'}"
    with (
        staged() as stage,
        running_fleet(
            store,
            servers=1,
            receiver=stage.receiver,
            # No silence is so long that it changes how an answer comes.
            session_arguments=(*arguments, "--open-stream-after", "60"),
        ) as fleet,
    ):
        address = fleet.servers[0].address
        targets = f"dns:///{address}" if way else address
        mcp = fleet.add_worker(*arguments, targets=targets)
        yield Served(stage, fleet, mcp, arguments, targets)
        for process in (*fleet.workers, fleet.servers[0].process):
            assert process.stop() == 0, process.errors


# --- what clients ask ----------------------------------------------------------------------------


@requirement("trace.trees")
def test_a_session_that_is_opened_is_drawn(served: Served) -> None:
    with served.stage.client() as http, served.stage.watch("initialize"):
        initialize(http, served.mcp, ASKABLE)


@requirement("trace.trees")
def test_a_follow_up_call_is_drawn(served: Served) -> None:
    with served.session() as session, served.stage.watch("follow-up-call"):
        assert "result" in session.post(call("add", {"a": 1, "b": 2})).json()


@requirement("trace.trees")
def test_a_call_without_a_session_is_drawn(served: Served) -> None:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "by-hand", "version": "2"},
    }
    params = {"name": "add", "arguments": {"a": 1, "b": 2}, "_meta": meta}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "add"}
    with served.stage.client() as http, served.stage.watch("call-without-a-session"):
        response = http.post(served.mcp, json=message, headers={"accept": BOTH, **headers})
        assert response.status_code == 200, response.text


@requirement("trace.trees")
def test_a_tool_that_reports_progress_is_drawn(served: Served) -> None:
    with (
        served.session() as session,
        served.stage.watch("progress"),
        session.stream(call("count", {"to": 3, "every_seconds": 0.01})) as events,
    ):
        assert len(list(events)) == 5  # an opening, three reports, the answer


@requirement("trace.trees")
def test_a_tool_that_fails_is_drawn(served: Served) -> None:
    with served.session() as session, served.stage.watch("tool-that-fails"):
        assert session.post(call("fail", {"message": "no"})).json()["result"]["isError"]


@requirement("trace.trees", "ask.trace")
def test_sampling_is_drawn(served: Served) -> None:
    with (
        served.session(ASKABLE) as session,
        served.stage.watch("sampling"),
        session.stream(call("test_sampling", {"prompt": "hello"})) as events,
    ):
        next(events)
        answer(session, next(events).json, SAMPLED)
        assert "hi" in next(events).data


@requirement("trace.trees", "ask.trace")
def test_elicitation_is_drawn(served: Served) -> None:
    with (
        served.session(ASKABLE) as session,
        served.stage.watch("elicitation"),
        session.stream(call("test_elicitation", {"message": "who?"})) as events,
    ):
        next(events)
        answer(session, next(events).json, {"action": "decline"})
        assert "decline" in next(events).data


def answer(session: HttpSession, asked: JsonObject, result: JsonObject) -> None:
    """Answer a question of the server."""
    response = session.post({"jsonrpc": "2.0", "id": asked["id"], "result": result})
    assert response.status_code == 202


# --- streams -------------------------------------------------------------------------------------


@requirement("trace.trees")
def test_a_listening_stream_that_its_client_leaves_is_drawn(served: Served) -> None:
    with (
        served.session() as session,
        served.stage.watch("listening-client-leaves"),
        session.listen() as events,
    ):
        next(events)


@requirement("trace.trees")
def test_a_listening_stream_that_ends_with_its_session_is_drawn(served: Served) -> None:
    with (
        served.session() as session,
        served.stage.watch("listening-until-the-end"),
        session.listen() as events,
    ):
        next(events)
        assert end(session) == 200
        assert list(events) == []


@requirement("trace.trees", "resume.link")
def test_a_resumed_stream_is_drawn(served: Served) -> None:
    with served.session(ASKABLE) as session, served.stage.watch("resumed-stream"):
        with session.stream(call("test_sampling", {"prompt": "hello"})) as events:
            opening = next(events)
            asked = next(events).json
        served.stage.wait_until_told()  # else it may count as one stream that takes another's place
        with session.listen(opening.id) as events:
            next(events)
            answer(session, asked, SAMPLED)
            assert "hi" in list(events)[-1].data


@requirement("trace.trees", "resume.link")
def test_a_listening_stream_that_is_resumed_is_drawn(served: Served) -> None:
    with served.session() as session, served.stage.watch("resumed-listening"):
        with session.listen() as events:
            seen = next(events).id
        served.stage.wait_until_told()
        with session.listen(seen) as events:
            next(events)


@requirement("trace.trees")
def test_a_session_that_is_ended_is_drawn(served: Served) -> None:
    with served.session() as session, served.stage.watch("delete"):
        assert end(session) == 200
        assert end(session) == 404


def end(session: HttpSession) -> int:
    """End a session; returns the HTTP status."""
    return session.http.delete(session.address, headers=session.headers).status_code


# --- what goes wrong -----------------------------------------------------------------------------


@requirement("trace.trees")
def test_a_cancelled_call_is_drawn(served: Served) -> None:
    with (
        served.session() as session,
        served.stage.watch("cancelled"),
        session.stream(call("count", {"to": 9999, "every_seconds": 0.05})) as events,
    ):
        next(events)
        next(events)
        params = {"requestId": 1}
        session.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
        assert "-32800" in list(events)[-1].data


@requirement("trace.trees")
@pytest.mark.parametrize("served", ["lean"], indirect=True)  # it takes a worker of its own
def test_a_call_over_its_deadline_is_drawn(served: Served) -> None:
    hasty = served.add_worker("--request-timeout", "1")
    with served.session() as session, served.stage.watch("deadline"):
        session.address = hasty
        response = session.post(call("sleep", {"seconds": 50}))
        assert "-32001" in response.text


@requirement("trace.trees", "trace.refused")
@pytest.mark.parametrize("served", ["lean", "sdk"], indirect=True)  # it takes a worker of its own
def test_a_caller_without_a_good_credential_is_drawn(served: Served, tmp_path: Path) -> None:
    key, line = make_key("ci")
    append_key(tmp_path / "keys", line)
    address = served.add_worker("--auth-api-keys", str(tmp_path / "keys"))
    with served.stage.client() as http:
        http.headers["authorization"] = f"Bearer {key}"
        session = initialize(http, address)
        with served.stage.watch("401-credential"):
            http.headers["authorization"] = f"Bearer {key}0"
            assert session.post(call("add")).status_code == 401
            del http.headers["authorization"]
            assert session.post(call("add")).status_code == 401


@requirement("trace.trees", "trace.refused")
def test_an_origin_that_is_refused_is_drawn(served: Served) -> None:
    with served.session() as session, served.stage.watch("403-origin"):
        response = session.post(call("add"), origin="https://elsewhere.example")
        assert response.status_code == 403


@requirement("trace.trees")
def test_an_unknown_session_is_drawn(served: Served) -> None:
    with served.session() as session, served.stage.watch("404-unknown-session"):
        session.session_id = "no-such-session"
        assert session.post(call("add")).status_code == 404


@requirement("trace.trees", "trace.refused")
def test_a_body_that_is_too_large_is_drawn(served: Served) -> None:
    with served.session() as session, served.stage.watch("413-too-large"):
        response = session.http.post(
            session.address,
            content=LARGE,
            headers={**session.headers, "content-type": "application/json"},
        )
        assert response.status_code == 413


@requirement("trace.trees")
@pytest.mark.parametrize("served", ["lean"], indirect=True)  # it takes a worker of its own
def test_session_servers_that_are_away_are_drawn(served: Served) -> None:
    arguments = (*served.worker_arguments, "--retry-for", "0.1")
    nobody = served.fleet.add_worker(*arguments, targets="127.0.0.1:1")
    with served.session() as session, served.stage.watch("503-nobody-there"):
        session.address = nobody
        assert session.post(call("add")).status_code == 503
