"""Which time series an operation of the hosted server belongs to."""

from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.util.types import Attributes

from linkspan_process.metrics.histograms import LeanHistogram
from linkspan_session.answers import Failed, Result
from linkspan_session.operations import Operations

FINE = Result({"content": []})


class Noting(LeanHistogram):
    """A histogram that keeps the attributes of its values."""

    def __init__(self) -> None:
        super().__init__("h")
        self.noted: list[Any] = []

    def record(
        self, amount: float, attributes: Attributes = None, context: Context | None = None
    ) -> None:
        super().record(amount, attributes, context)
        self.noted.append(dict(attributes or {}))


@pytest.fixture
def noting() -> Noting:
    return Noting()


def called(operations: Operations, tool: object, answer: Result | Failed | str) -> None:
    operations.record(0.0, "tools/call", {"name": tool}, "2025-11-25", answer)


def test_a_tool_has_its_name_once_it_is_known_to_be_there(noting: Noting) -> None:
    operations = Operations(noting)
    unknown = Result({"isError": True})
    called(operations, "there", unknown)
    called(operations, "there", FINE)
    called(operations, "there", unknown)
    called(operations, 7, FINE)
    names = [each["gen_ai.tool.name"] for each in noting.noted]
    assert names == ["_OTHER", "there", "there", "_OTHER"]
    assert [each.get("error.type") for each in noting.noted] == [
        "tool_error",
        None,
        "tool_error",
        None,
    ]


def test_what_was_listed_is_there(noting: Noting) -> None:
    operations = Operations(noting)
    listed = Result({"tools": [{"name": "listed"}, {"name": 3}, "junk"]})
    operations.record(0.0, "tools/list", None, "2025-11-25", listed)
    operations.record(0.0, "prompts/list", {}, "2025-11-25", Result({"prompts": "junk"}))
    called(operations, "listed", Failed(-32000, "no"))
    assert noting.noted[-1] == {
        "mcp.method.name": "tools/call",
        "mcp.protocol.version": "2025-11-25",
        "gen_ai.tool.name": "listed",
        "error.type": "-32000",
        "rpc.response.status_code": "-32000",
    }


def test_a_server_that_takes_any_name_has_a_bounded_number_of_them(noting: Noting) -> None:
    operations = Operations(noting)
    for number in range(300):
        called(operations, f"tool{number}", FINE)
    assert len({each["gen_ai.tool.name"] for each in noting.noted}) == 201


def test_methods_and_versions_that_mcp_does_not_have_are_not_named(noting: Noting) -> None:
    operations = Operations(noting)
    operations.record(0.0, "made/up", None, "2099-01-01", Failed(-32601, "no"))
    operations.record(0.0, "ping", None, {"not": "text"}, "cancelled")
    assert noting.noted == [
        {
            "mcp.method.name": "_OTHER",
            "error.type": "-32601",
            "rpc.response.status_code": "-32601",
        },
        {"mcp.method.name": "ping", "error.type": "cancelled"},
    ]
