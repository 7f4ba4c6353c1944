"""The rarer requests of a server: for the client's roots, and for a visit to an address."""

import threading
from collections.abc import Iterator

import httpx2
import pytest
from tests.requirements import requirement
from tests.support.mcp_http import JsonObject, call, http_session
from tests.support.processes import REPOSITORY
from tests.support.stack import Stack, running_stack

ASKING = str(REPOSITORY / "tests" / "apps" / "asking.py") + ":mcp"
CAPABILITIES: JsonObject = {"roots": {}, "elicitation": {"url": {}}}


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("data"), app=ASKING) as stack:
        yield stack


@requirement("session.server-asks")
def test_roots_are_asked_for_on_the_listening_stream(asking: Stack) -> None:
    answers: list[httpx2.Response] = []
    with (
        http_session(asking.mcp, capabilities=CAPABILITIES) as session,
        session.listen() as listening,
    ):
        next(listening)
        calling = threading.Thread(target=lambda: answers.append(session.post(call("roots"))))
        calling.start()
        asked = next(listening).json
        assert asked["method"] == "roots/list"
        result = {"roots": [{"uri": "file:///home/me"}]}
        session.post({"jsonrpc": "2.0", "id": asked["id"], "result": result})
        calling.join(timeout=30)
    assert "file:///home/me" in answers[0].text


@requirement("session.server-asks")
def test_a_visit_to_an_address_is_asked_for_on_the_stream_of_the_call(asking: Stack) -> None:
    with (
        http_session(asking.mcp, capabilities=CAPABILITIES) as session,
        session.stream(call("visit")) as events,
    ):
        next(events)
        asked = next(events).json
        assert asked["method"] == "elicitation/create"
        assert (asked["params"]["mode"], asked["params"]["url"]) == (
            "url",
            "https://login.example/",
        )
        session.post({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept"}})
        assert "accept" in next(events).data
