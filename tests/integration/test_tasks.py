"""Tasks (SEP-2663) through worker and session server: begun, polled, answered, cancelled, survived.

The conformance suite's `tasks-*` scenarios are run elsewhere; here is what they do not look at, and
what goes wrong.
"""

import asyncio
import json
import re
import signal
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.requirements import requirement
from tests.support.peer import Answer, Peer, modern, modern_headers, peer_of, session_at
from tests.support.processes import REPOSITORY, linkspan
from tests.support.session_calls import TIMEOUT_SECONDS, service_at
from tests.support.stack import Stack, running_stack

from linkspan.session.v1.session_pb2 import Header, Principal
from linkspan.session.v1.session_service_pb2 import HandleRequestRequest, Post
from linkspan_propagation.testing import ExportedSpan, OtlpReceiver, draw_tree

TASKING = str(REPOSITORY / "tests" / "apps" / "tasking.py") + ":mcp"

EXTENSION = "io.modelcontextprotocol/tasks"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
TAKES_TASKS: dict[str, Any] = {"elicitation": {}, "extensions": {EXTENSION: {}}}

INVALID_PARAMS = -32602
METHOD_NOT_FOUND = -32601
INTERNAL_ERROR = -32603
HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021

TASK_METHODS = ["tasks/get", "tasks/update", "tasks/cancel"]

Message = dict[str, Any]


@dataclass
class Client:
    """A client of 2026-07-28, by hand; takes tasks unless it says otherwise."""

    peer: Peer
    capabilities: Message = field(default_factory=lambda: TAKES_TASKS)

    def message(self, method: str, **params: Any) -> Message:
        message = modern(method, params)
        message["params"]["_meta"] = {
            **message["params"]["_meta"],
            CAPABILITIES: self.capabilities,
        }
        return message

    def ask(self, method: str, *, mcp_name: str | None = None, **params: Any) -> Answer:
        message = self.message(method, **params)
        headers = modern_headers(message)
        name = mcp_name or params.get("taskId")
        if isinstance(name, str):
            headers["mcp-name"] = name
        return self.peer.post(message, headers=headers)

    def call(self, tool: str, **arguments: Any) -> Answer:
        return self.ask("tools/call", name=tool, arguments=arguments)

    def begin(self, tool: str, **arguments: Any) -> str:
        result = self.call(tool, **arguments).result
        assert result["resultType"] == "task", result
        task_id: str = result["taskId"]
        return task_id

    def get(self, task_id: str) -> Message:
        return self.ask("tasks/get", taskId=task_id).result

    def update(self, task_id: str, answers: Message) -> Answer:
        return self.ask("tasks/update", taskId=task_id, inputResponses=answers)

    def cancel(self, task_id: str) -> Answer:
        return self.ask("tasks/cancel", taskId=task_id)

    def until(self, task_id: str, *statuses: str) -> Message:
        """Poll until the task has one of the states; the test's time limit bounds it."""
        while (task := self.get(task_id))["status"] not in statuses:
            pass
        return task

    def end_of(self, task_id: str) -> Message:
        return self.until(task_id, "completed", "failed", "cancelled")

    def seen(self, name: str, mark: str) -> None:
        assert "error" not in self.call("seen", name=name, mark=mark).final

    def release(self, name: str) -> None:
        assert "error" not in self.call("release", name=name).final


def text_of(task: Message) -> str:
    text: str = task["result"]["content"][0]["text"]
    return text


def accepted(name: str) -> Message:
    return {"action": "accept", "content": {"name": name}}


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as running:
        yield running


@pytest.fixture(scope="module")
def tasking(receiver: OtlpReceiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A worker and a session server that host `tests/apps/tasking.py`."""
    folder = tmp_path_factory.mktemp("tasking")
    often = ("--comment-every", "0.05")
    with running_stack(folder, app=TASKING, receiver=receiver, worker_arguments=often) as running:
        yield running


@pytest.fixture
def client(tasking: Stack) -> Iterator[Client]:
    with peer_of(tasking.mcp) as peer:
        yield Client(peer)


# --- the life of a task --------------------------------------------------------------------------


@requirement("tasks.created")
def test_a_call_is_answered_with_a_task_that_can_be_polled_to_its_result(client: Client) -> None:
    created = client.call("hold", name="whole").result
    assert created["resultType"] == "task"
    assert created["status"] == "working"
    assert (created["ttlMs"], created["pollIntervalMs"]) == (120_000, 500)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", created["createdAt"])
    assert len(created["taskId"]) >= 32
    polled = client.get(created["taskId"])
    assert polled["resultType"] == "complete"
    shared = {key: value for key, value in created.items() if key not in {"resultType", "_meta"}}
    assert {key: polled[key] for key in shared} == shared
    client.release("whole")
    over = client.end_of(created["taskId"])
    assert (over["status"], text_of(over)) == ("completed", "held whole")
    assert over["result"]["structuredContent"] == {"result": "held whole"}


@requirement("tasks.created")
def test_what_a_task_says_of_itself_is_seen(client: Client) -> None:
    over = client.end_of(client.begin("say", length=1))
    assert over["statusMessage"] == "saying it"


@requirement("tasks.bounds")
def test_a_result_over_the_limit_fails_the_task(client: Client) -> None:
    over = client.end_of(client.begin("say", length=5000))
    assert over["status"] == "failed"
    assert over["error"]["code"] == INTERNAL_ERROR
    assert "larger than 4096 bytes" in over["error"]["message"]
    assert "result" not in over


@requirement("tasks.bounds")
def test_more_tasks_than_a_principal_may_run_are_refused(tmp_path: Path) -> None:
    with running_stack(tmp_path, app=TASKING) as stack, peer_of(stack.mcp) as peer:
        client = Client(peer)
        ids = [client.begin("hold", name=f"many {number}") for number in range(8)]
        answer = client.call("hold", name="one too many")
        assert (answer.code, answer.error["message"].split(":")[0]) == (
            INTERNAL_ERROR,
            "Too many tasks",
        )
        client.cancel(ids[0])
        client.begin("hold", name="room again")


@requirement("tasks.cancel")
def test_cancelling_a_task_stops_its_tool(client: Client) -> None:
    task_id = client.begin("hold", name="cancel")
    client.seen("cancel", "started")
    acknowledged = client.cancel(task_id).result
    assert {key for key in acknowledged if key != "_meta"} == {"resultType"}
    client.seen("cancel", "cancelled")
    assert client.get(task_id)["status"] == "cancelled"
    assert client.cancel(task_id).result["resultType"] == "complete"


# --- input ---------------------------------------------------------------------------------------


@requirement("tasks.input")
def test_a_task_goes_on_once_all_its_questions_are_answered(client: Client) -> None:
    task_id = client.begin("ask")
    asked = client.until(task_id, "input_required")
    first, last = asked["inputRequests"]
    assert asked["inputRequests"][first]["method"] == "elicitation/create"
    client.update(task_id, {first: accepted("Ada")})
    assert list(client.get(task_id)["inputRequests"]) == [last]
    client.update(task_id, {last: accepted("Lovelace")})
    assert text_of(client.end_of(task_id)) == "Ada Lovelace"


@requirement("tasks.stray-answers")
def test_answers_to_nothing_are_ignored_and_the_first_answer_counts(client: Client) -> None:
    task_id = client.begin("ask")
    first, last = client.until(task_id, "input_required")["inputRequests"]
    assert client.update(task_id, {"no such": 7, "": {}}).result["resultType"] == "complete"
    client.update(task_id, {first: accepted("Ada")})
    client.update(task_id, {first: accepted("Eve"), last: accepted("Lovelace")})
    assert text_of(client.end_of(task_id)) == "Ada Lovelace"
    assert client.update(task_id, {first: accepted("Eve")}).result["resultType"] == "complete"


@requirement("tasks.stray-answers")
@pytest.mark.parametrize("bad", [7, None, "yes", {}, {"action": "dance"}, {"roots": []}])
def test_an_answer_that_is_none_to_its_question_is_refused_as_a_whole(
    client: Client, bad: object
) -> None:
    task_id = client.begin("ask")
    first, last = client.until(task_id, "input_required")["inputRequests"]
    answer = client.update(task_id, {first: accepted("Ada"), last: bad})
    assert (answer.status, answer.code) == (400, INVALID_PARAMS)
    assert answer.error["message"] == f"'{last}' is not answered as elicitation/create is"
    assert list(client.get(task_id)["inputRequests"]) == [first, last]
    client.cancel(task_id)


@requirement("tasks.input")
def test_a_client_is_not_asked_what_it_did_not_declare(client: Client) -> None:
    client.capabilities = {"extensions": {EXTENSION: {}}}
    over = client.end_of(client.begin("ask"))
    assert (over["status"], over["error"]["code"]) == ("failed", MISSING_CAPABILITY)
    assert over["error"]["data"] == {"requiredCapabilities": {"elicitation": {}}}


# --- what is refused -----------------------------------------------------------------------------


def asking(client: Client, method: str, task_id: object, **more: Any) -> Answer:
    return client.ask(method, taskId=task_id, inputResponses={}, **more)


@requirement("tasks.unknown")
@pytest.mark.parametrize("method", TASK_METHODS)
@pytest.mark.parametrize("task_id", ["none", "' OR 1=1 --", "=?base64?YQ==?=", "a" * 4000])
def test_an_unknown_task_gets_invalid_params(client: Client, method: str, task_id: str) -> None:
    name = "=?base64?PT9iYXNlNjQ/WVE9PT89?=" if task_id.startswith("=") else task_id
    answer = asking(client, method, task_id, mcp_name=name)
    assert (answer.status, answer.code, answer.error["message"]) == (
        400,
        INVALID_PARAMS,
        "Task not found",
    )


@requirement("tasks.unknown")
@pytest.mark.parametrize("method", TASK_METHODS)
def test_a_task_without_an_id_gets_invalid_params(client: Client, method: str) -> None:
    answer = client.ask(method)
    assert (answer.code, answer.error["message"]) == (INVALID_PARAMS, "Invalid request parameters")


@requirement("tasks.unknown")
@pytest.mark.parametrize("method", TASK_METHODS)
def test_a_task_of_another_principal_is_as_unknown_as_none(
    tasking: Stack, client: Client, method: str
) -> None:
    task_id = client.begin("hold", name=f"not yours {method}")
    message = client.message(method, taskId=task_id, inputResponses={})

    async def ask_as(principal: Principal) -> Message:
        request = HandleRequestRequest(
            principal=principal,
            post=Post(
                message=json.dumps(message),
                headers=[Header(name="mcp-name", value=task_id)],
                single_answer=True,
            ),
        )
        async with service_at(tasking.grpc) as stub:
            service: Any = stub  # its type is that of blocking calls
            answers = [
                each async for each in service.HandleRequest(request, timeout=TIMEOUT_SECONDS)
            ]
        parsed: Message = json.loads(answers[-1].message.json)
        return parsed

    eve = Principal(issuer="https://issuer.example", subject="eve")
    refused = asyncio.run(ask_as(eve))["error"]
    assert (refused["code"], refused["message"]) == (INVALID_PARAMS, "Task not found")
    assert client.get(task_id)["status"] == "working"
    assert "result" in asyncio.run(ask_as(Principal()))
    client.cancel(task_id)


@requirement("tasks.headers")
@pytest.mark.parametrize("method", TASK_METHODS)
@pytest.mark.parametrize("name", [None, "another-task"])
def test_a_name_header_that_is_not_the_task_gets_header_mismatch(
    client: Client, method: str, name: str | None
) -> None:
    message = client.message(method, taskId="a-task", inputResponses={})
    answer = client.peer.post(message, headers={**modern_headers(message), "mcp-name": name})
    assert (answer.status, answer.code) == (400, HEADER_MISMATCH)


@requirement("tasks.capability")
@pytest.mark.parametrize("method", TASK_METHODS)
def test_a_client_that_takes_no_tasks_is_told_what_to_declare(client: Client, method: str) -> None:
    client.capabilities = {"tasks": {}}  # those of 2025-11-25 are not these
    answer = asking(client, method, "none")
    assert (answer.status, answer.code) == (400, MISSING_CAPABILITY)
    assert answer.error["data"] == {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}


@requirement("tasks.capability")
def test_a_tool_that_must_be_a_task_refuses_a_client_that_takes_none(client: Client) -> None:
    client.capabilities = {}
    answer = client.call("hold", name="refused")
    assert (answer.status, answer.code) == (400, MISSING_CAPABILITY)


@requirement("tasks.capability")
@pytest.mark.parametrize(
    ("capabilities", "refused"), [({}, True), (TAKES_TASKS, False)], ids=["without", "with"]
)
def test_listening_for_tasks_needs_the_extension(
    client: Client, capabilities: Message, refused: bool
) -> None:
    client.capabilities = capabilities
    wanted = {"taskIds": ["a-task"], "toolsListChanged": True}
    message = client.message("subscriptions/listen", notifications=wanted)
    with client.peer.stream(message, headers=modern_headers(message)) as stream:
        first = stream.next()
    if refused:
        assert first["error"]["code"] == MISSING_CAPABILITY
    else:  # acknowledged, without what this server does not send
        assert first["method"] == "notifications/subscriptions/acknowledged"
        assert first["params"]["notifications"] == {"toolsListChanged": True}


@requirement("tasks.plain")
def test_a_client_that_takes_no_tasks_gets_a_plain_call(client: Client) -> None:
    client.capabilities = {}
    result = client.call("say", length=3).result
    assert (result["resultType"], result["content"][0]["text"]) == ("complete", "xxx")
    assert client.call("ask").code == MISSING_CAPABILITY


@requirement("tasks.plain")
def test_in_the_handshake_era_there_are_no_tasks(tasking: Stack) -> None:
    with session_at(tasking.mcp, capabilities=TAKES_TASKS) as session:
        assert session.call("say", length=3).result["content"][0]["text"] == "xxx"
        assert session.call("hold", name="handshake").code == MISSING_CAPABILITY
        for method in TASK_METHODS:
            asked = session.ask(method, {"taskId": "none", "inputResponses": {}})
            assert asked.code == METHOD_NOT_FOUND


# --- the request that begins it ------------------------------------------------------------------


@requirement("tasks.outlives-request")
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_closing_the_response_does_not_cancel_the_task(
    tasking: Stack, client: Client, accept: str
) -> None:
    name = f"outlives {accept}"
    with peer_of(tasking.mcp) as leaver:
        message = client.message("tools/call", name="hold", arguments={"name": name})
        headers = {**modern_headers(message), "accept": accept}
        with leaver.stream(message, headers=headers) as stream:
            task_id = stream.next()["result"]["taskId"]
    client.seen(name, "started")
    client.release(name)
    assert text_of(client.end_of(task_id)) == f"held {name}"


@requirement("tasks.outlives-request")
def test_closing_the_response_before_there_is_a_task_cancels_the_tool(
    tasking: Stack, client: Client
) -> None:
    name = "left early"
    with peer_of(tasking.mcp) as leaver:
        message = client.message("tools/call", name="hold_then_begin", arguments={"name": name})
        headers = {**modern_headers(message), "accept": "text/event-stream"}
        with leaver.stream(message, headers=headers) as stream:
            stream.comment()
            client.seen(name, "started")
    client.seen(name, "cancelled")


@requirement("tasks.outlives-request")
def test_a_tool_becomes_a_task_when_it_says_so(client: Client) -> None:
    client.release("says so")
    task_id = client.begin("hold_then_begin", name="says so")
    assert text_of(client.end_of(task_id)) == "held says so"


# --- processes -----------------------------------------------------------------------------------


def on_record(stack: Stack, statement: str) -> None:
    connection = sqlite3.connect(stack.data / "sessions.db")
    try:
        with connection:
            connection.execute(statement)
    finally:
        connection.close()


@requirement("tasks.any-process")
def test_a_task_is_polled_answered_and_cancelled_through_another_session_server(
    tasking: Stack, client: Client
) -> None:
    command = ("session", "--app", TASKING, "--port", "0", "--data", str(tasking.data))
    with linkspan(*command) as other:
        worker_command = ("worker", "--session", other.wait_ready()["grpc"], "--port", "0")
        with linkspan(*worker_command) as worker, peer_of(worker.wait_ready()["mcp"]) as peer:
            there = Client(peer)
            asking_task = client.begin("ask")
            asked = there.until(asking_task, "input_required")
            there.update(asking_task, {key: accepted("Ada") for key in asked["inputRequests"]})
            assert text_of(there.end_of(asking_task)) == "Ada Ada"
            held = client.begin("hold", name="elsewhere")
            client.seen("elsewhere", "started")
            there.cancel(held)
            client.seen("elsewhere", "cancelled")
            assert client.get(held)["status"] == "cancelled"


@requirement("tasks.survives")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_task_outlives_its_session_server_as_what_it_is(
    tmp_path: Path, number: signal.Signals
) -> None:
    long_lease = ("--lease", "300")  # nobody takes so long to start the next one
    with (
        running_stack(tmp_path, app=TASKING, session_arguments=long_lease) as first,
        peer_of(first.mcp) as peer,
    ):
        client = Client(peer)
        done = client.begin("say", length=3)
        client.end_of(done)
        held = client.begin("hold", name="cut short")
        client.seen("cut short", "started")
        first.session.signal(number)
        first.session.wait()
    with running_stack(tmp_path, app=TASKING) as second, peer_of(second.mcp) as peer:
        client = Client(peer)
        assert text_of(client.get(done)) == "xxx"
        if number is signal.SIGKILL:
            # It said nothing of its end, so it counts as alive until its lease is over.
            assert client.get(held)["status"] == "working"
            on_record(second, "UPDATE nodes SET until_nanos = 0")
        over = client.get(held)
        assert (over["status"], over["error"]["code"]) == ("failed", INTERNAL_ERROR)
        assert over["statusMessage"] == over["error"]["message"]
        assert "before" in over["statusMessage"]


# --- traces --------------------------------------------------------------------------------------


def named(spans: list[ExportedSpan], name: str) -> ExportedSpan:
    (span,) = [each for each in spans if each.name == name]
    return span


def has(name: str) -> Callable[[list[ExportedSpan]], bool]:
    return lambda spans: any(span.name == name for span in spans)


@requirement("tasks.trace")
def test_the_tools_work_nests_below_the_request_that_began_the_task(
    client: Client, receiver: OtlpReceiver
) -> None:
    client.end_of(client.begin("work_within"))
    spans = receiver.wait_for(has("task work_within"))
    work = named(spans, "work within")
    task = named(spans, "task work_within")
    call = named(spans, "tools/call work_within")
    assert work.parent_span_id == task.span_id, draw_tree(spans)
    assert task.parent_span_id == call.span_id, draw_tree(spans)
    assert {work.trace_id, task.trace_id} == {call.trace_id}
    assert task.attributes["linkspan.task.status"] == "completed"
