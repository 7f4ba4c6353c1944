"""The everything example offers what the conformance suite calls and keeps sessions apart.

These run in one process: what they look at is what a user would write, not how it is served.
"""

from dataclasses import dataclass, field

import pytest
from mcp import Client
from mcp.client.extension import advertise
from mcp.client.session import ClientRequestContext, ElicitationFnT
from mcp.server import MCPServer
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp_types import (
    ElicitRequestParams,
    ElicitResult,
    LoggingMessageNotificationParams,
    PromptReference,
    ResourceUpdatedNotification,
    TextContent,
)
from tests.examples.loading import load_example

pytestmark = [
    pytest.mark.anyio,
    # The example uses what 2026-07-28 deprecates, for the clients of earlier versions.
    pytest.mark.filterwarnings(f"ignore::{MCPDeprecationWarning.__module__}.MCPDeprecationWarning"),
]

PLAIN_TOOLS = {"add", "count", "echo", "fail", "sleep", "touch_watched_resource"}

SUITE_TOOLS = {
    "json_schema_2020_12_tool",
    "test_audio_content",
    "test_custom_headers",
    "test_elicitation",
    "test_elicitation_sep1034_defaults",
    "test_elicitation_sep1330_enums",
    "test_embedded_resource",
    "test_error_handling",
    "test_image_content",
    "test_input_required_result_capabilities",
    "test_input_required_result_elicitation",
    "test_input_required_result_list_roots",
    "test_input_required_result_multi_round",
    "test_input_required_result_multiple_inputs",
    "test_input_required_result_request_state",
    "test_input_required_result_sampling",
    "test_input_required_result_tampered_state",
    "test_logging_tool",
    "test_missing_capability",
    "test_multiple_content_types",
    "test_reconnection",
    "test_sampling",
    "test_simple_text",
    "test_streaming_elicitation",
    "test_tool_with_logging",
    "test_tool_with_progress",
    "test_trigger_prompt_change",
    "test_trigger_tool_change",
}

TASK_TOOLS = {
    "confirm_delete",
    "failing_job",
    "greet",
    "multi_input",
    "protocol_error_job",
    "slow_compute",
    "test_tool_with_task",
}

SUITE_PROMPTS = {
    "test_input_required_result_prompt",
    "test_prompt_with_arguments",
    "test_prompt_with_embedded_resource",
    "test_prompt_with_image",
    "test_simple_prompt",
}

WATCHED_URI = "test://watched-resource"

SUITE_RESOURCES = {"test://static-text", "test://static-binary", WATCHED_URI}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def everything() -> MCPServer:
    return load_example("everything")


def answering(answer: ElicitResult) -> ElicitationFnT:
    """A user who answers every form alike."""

    async def elicit(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        return answer

    return elicit


@dataclass
class Heard:
    """What reached a client without being asked for."""

    logs: list[str] = field(default_factory=list[str])
    updates: list[str] = field(default_factory=list[str])

    async def log(self, params: LoggingMessageNotificationParams) -> None:
        self.logs.append(str(params.data))

    async def message(self, message: object) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            self.updates.append(message.params.uri)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_every_fixture_of_the_suite_is_listed_in_both_eras(
    everything: MCPServer, mode: str
) -> None:
    async with Client(everything, mode=mode) as client:
        tools = await client.list_tools()
        prompts = await client.list_prompts()
        resources = await client.list_resources()
        templates = await client.list_resource_templates()
    assert {tool.name for tool in tools.tools} == PLAIN_TOOLS | SUITE_TOOLS | TASK_TOOLS
    assert all(tool.description for tool in tools.tools)
    assert {prompt.name for prompt in prompts.prompts} == SUITE_PROMPTS
    assert {resource.uri for resource in resources.resources} == SUITE_RESOURCES
    assert [t.uri_template for t in templates.resource_templates] == ["test://template/{id}/data"]


async def test_fail_tells_its_message(everything: MCPServer) -> None:
    async with Client(everything) as client:
        result = await client.call_tool("fail", {"message": "out of paper"})
    assert result.is_error
    assert isinstance(result.content[0], TextContent)
    assert result.content[0].text.endswith("out of paper")


async def test_completion_suggests_cities(everything: MCPServer) -> None:
    reference = PromptReference(type="ref/prompt", name="test_prompt_with_arguments")
    async with Client(everything) as client:
        result = await client.complete(reference, {"name": "arg1", "value": "par"})
    assert result.completion.values == ["Paris", "Parma"]


async def test_each_session_has_its_own_log_level(everything: MCPServer) -> None:
    quiet, talkative = Heard(), Heard()
    async with (
        Client(everything, mode="legacy", logging_callback=quiet.log) as first,
        Client(everything, mode="legacy", logging_callback=talkative.log) as second,
    ):
        await first.session.set_logging_level("error")  # pyright: ignore[reportDeprecated]
        await first.call_tool("test_tool_with_logging")
        await second.call_tool("test_tool_with_logging")
    assert quiet.logs == []
    assert len(talkative.logs) == 3


async def test_an_update_reaches_the_session_that_subscribed_and_announces(
    everything: MCPServer,
) -> None:
    subscribed, other = Heard(), Heard()
    async with (
        Client(everything, mode="legacy", message_handler=subscribed.message) as first,
        Client(everything, mode="legacy", message_handler=other.message) as second,
    ):
        await first.session.subscribe_resource(WATCHED_URI)  # pyright: ignore[reportDeprecated]
        await first.call_tool("touch_watched_resource")
        await second.call_tool("touch_watched_resource")
        await first.session.unsubscribe_resource(WATCHED_URI)  # pyright: ignore[reportDeprecated]
        await first.call_tool("touch_watched_resource")
    assert subscribed.updates == [WATCHED_URI]
    assert other.updates == []


async def test_a_question_of_two_rounds_is_answered(everything: MCPServer) -> None:
    user = answering(ElicitResult(action="accept", content={"name": "Ada", "color": "green"}))
    async with Client(everything, elicitation_callback=user) as client:
        result = await client.call_tool("test_input_required_result_multi_round")
    assert result.structured_content == {"result": "Ada likes green."}


async def test_a_declined_question_is_not_asked_again(everything: MCPServer) -> None:
    user = answering(ElicitResult(action="decline"))
    async with Client(everything, elicitation_callback=user) as client:
        with pytest.raises(MCPError, match="decline"):
            await client.call_tool("test_input_required_result_elicitation")


async def test_a_client_of_an_older_version_is_told_why_it_cannot_be_asked(
    everything: MCPServer,
) -> None:
    async with Client(everything, mode="legacy") as client:
        with pytest.raises(MCPError, match="2026-07-28 or later"):
            await client.call_tool("test_input_required_result_elicitation")


async def test_served_by_another_host_the_tasks_are_plain_calls_or_say_why_not(
    everything: MCPServer,
) -> None:
    async with Client(everything) as client:
        result = await client.call_tool("slow_compute", {"seconds": 0, "label": "sums"})
        with pytest.raises(MCPError, match="Missing required client capability"):
            await client.call_tool("failing_job")
    assert result.structured_content == {"result": "Computed sums for 0 s."}
    async with Client(
        everything, extensions=[advertise("io.modelcontextprotocol/tasks")]
    ) as client:
        with pytest.raises(MCPError, match="linkspan run"):
            await client.call_tool("failing_job")
