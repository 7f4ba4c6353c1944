"""How a handler asks its client since 2026-07-28 (SEP-2322): it answers `input_required`.

The client collects what `inputRequests` names and calls again with `inputResponses` and the
`requestState` that it was given, so a question needs no open stream and no memory of the server.
The SDK seals that state: a handler reads only what it wrote, and a changed one never reaches it.
"""

import json
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context, UserMessage
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_REQUEST,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequests,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS


def register(mcp: MCPServer) -> None:
    """Add the tools and the prompt of this module to the server."""
    _add_single_questions(mcp)
    _add_rounds(mcp)
    _add_capability_checks(mcp)
    _add_prompt(mcp)


def _ask(ctx: Context, questions: InputRequests, state: str | None = None) -> InputRequiredResult:
    """End this call with questions; the next one brings the answers and the state.

    Raises:
        MCPError: The client speaks an older protocol version, where a call cannot end so.
    """
    if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        message = f"This needs a client of protocol version {MODERN_PROTOCOL_VERSIONS[0]} or later"
        raise MCPError(code=INVALID_REQUEST, message=message)
    return InputRequiredResult(input_requests=questions, request_state=state)


def _form(message: str, field: str, kind: str = "string") -> ElicitRequest:
    """Ask the user for one required field of a JSON Schema type."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {field: {"type": kind}},
        "required": [field],
    }
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def _sample(text: str, max_tokens: int) -> CreateMessageRequest:
    """Ask the client's model."""
    message = SamplingMessage(role="user", content=TextContent(type="text", text=text))
    params = CreateMessageRequestParams(messages=[message], max_tokens=max_tokens)
    return CreateMessageRequest(params=params)


def _field(ctx: Context, key: str, field: str) -> str | None:
    """What the user filled in, or None where the answer or the field in it is missing.

    Raises:
        MCPError: The user did not want to answer; asking again would go on for ever.
    """
    answer = (ctx.input_responses or {}).get(key)
    if not isinstance(answer, ElicitResult):
        return None
    if answer.action != "accept":
        raise MCPError(code=INVALID_REQUEST, message=f"The user chose to {answer.action}")
    if not answer.content or field not in answer.content:
        return None
    return str(answer.content[field])


def _add_single_questions(mcp: MCPServer) -> None:
    @mcp.tool()
    async def test_input_required_result_elicitation(ctx: Context) -> str | InputRequiredResult:
        """Ask the user's name, then greet."""
        name = _field(ctx, "user_name", "name")
        if name is None:
            questions: InputRequests = {"user_name": _form("What is your name?", "name")}
            return _ask(ctx, questions)
        return f"Hello, {name}!"

    @mcp.tool()
    async def test_input_required_result_sampling(ctx: Context) -> str | InputRequiredResult:
        """Ask the client's model for a capital, then repeat what it said."""
        answer = (ctx.input_responses or {}).get("capital_question")
        if not isinstance(answer, CreateMessageResult):
            questions: InputRequests = {
                "capital_question": _sample("What is the capital of France?", max_tokens=100)
            }
            return _ask(ctx, questions)
        text = answer.content.text if isinstance(answer.content, TextContent) else "no text"
        return f"The model said: {text}"

    @mcp.tool()
    async def test_input_required_result_list_roots(ctx: Context) -> str | InputRequiredResult:
        """Ask for the client's roots, then name them."""
        answer = (ctx.input_responses or {}).get("client_roots")
        if not isinstance(answer, ListRootsResult):
            return _ask(ctx, {"client_roots": ListRootsRequest()})
        return f"Roots: {', '.join(str(root.uri) for root in answer.roots) or 'none'}"

    @mcp.tool()
    async def test_streaming_elicitation(ctx: Context) -> str | InputRequiredResult:
        """Report progress, then ask: the question ends the stream, it is no request in it."""
        name = _field(ctx, "user_name", "name")
        if name is None:
            await ctx.report_progress(0, 1, "A question comes up")
            questions: InputRequests = {"user_name": _form("What is your name?", "name")}
            return _ask(ctx, questions)
        await ctx.report_progress(1, 1, "The question was answered")
        return f"Hello, {name}!"


def _add_rounds(mcp: MCPServer) -> None:
    @mcp.tool()
    async def test_input_required_result_request_state(ctx: Context) -> str | InputRequiredResult:
        """Ask for a confirmation and recognize the state that comes back with it."""
        if ctx.request_state == "to-be-confirmed" and _field(ctx, "confirm", "ok") is not None:
            return "state-ok: confirmed"
        return _ask(
            ctx,
            {"confirm": _form("Please confirm", "ok", "boolean")},
            state="to-be-confirmed",
        )

    @mcp.tool()
    async def test_input_required_result_tampered_state(ctx: Context) -> str | InputRequiredResult:
        """Ask for a confirmation; the call that brings a changed state back never gets here."""
        if ctx.request_state is not None:
            return f"state-ok: {ctx.request_state}"
        return _ask(
            ctx,
            {"confirm": _form("Please confirm", "ok", "boolean")},
            state="untouched",
        )

    @mcp.tool()
    async def test_input_required_result_multiple_inputs(
        ctx: Context,
    ) -> str | InputRequiredResult:
        """Ask three questions of three kinds at once."""
        questions: InputRequests = {
            "user_name": _form("What is your name?", "name"),
            "greeting": _sample("Generate a greeting", max_tokens=50),
            "client_roots": ListRootsRequest(),
        }
        if questions.keys() <= (ctx.input_responses or {}).keys():
            return "All three questions were answered."
        return _ask(ctx, questions, state="asked")

    @mcp.tool()
    async def test_input_required_result_multi_round(ctx: Context) -> str | InputRequiredResult:
        """Ask for a name, then for a color; the state carries the name to the last round."""
        state: dict[str, str] = json.loads(ctx.request_state) if ctx.request_state else {}
        name = state.get("name") or _field(ctx, "step1", "name")
        if name is None:
            return _ask(
                ctx,
                {"step1": _form("Step 1: What is your name?", "name")},
                state=json.dumps({"step": "1"}),
            )
        color = _field(ctx, "step2", "color")
        if color is None:
            return _ask(
                ctx,
                {"step2": _form("Step 2: What is your favorite color?", "color")},
                state=json.dumps({"step": "2", "name": name}),
            )
        return f"{name} likes {color}."


def _add_capability_checks(mcp: MCPServer) -> None:
    @mcp.tool()
    async def test_input_required_result_capabilities(ctx: Context) -> str | InputRequiredResult:
        """Ask only what the client said it can answer."""
        declared = ctx.client_capabilities
        questions: InputRequests = {}
        if declared and declared.sampling is not None:
            questions["greeting"] = _sample("Say hello", max_tokens=50)
        if declared and declared.elicitation is not None:
            questions["user_name"] = _form("What is your name?", "name")
        answers = ctx.input_responses or {}
        if questions.keys() <= answers.keys():
            return f"Answered: {', '.join(sorted(questions)) or 'nothing could be asked'}"
        return _ask(ctx, questions)

    @mcp.tool()
    async def test_missing_capability(ctx: Context) -> str:
        """Refuse a client that did not declare sampling."""
        declared = ctx.client_capabilities
        if declared is None or declared.sampling is None:
            raise MCPError(
                code=MISSING_REQUIRED_CLIENT_CAPABILITY,
                message="This tool needs a client that declares the capability 'sampling'",
                data={"requiredCapabilities": {"sampling": {}}},
            )
        return "The client declares sampling."


def _add_prompt(mcp: MCPServer) -> None:
    @mcp.prompt()
    async def test_input_required_result_prompt(
        ctx: Context,
    ) -> list[UserMessage] | InputRequiredResult:
        """Ask what the prompt is about before giving it: not only tools may ask."""
        about = _field(ctx, "user_context", "context")
        if about is None:
            return _ask(
                ctx, {"user_context": _form("What context should the prompt use?", "context")}
            )
        return [UserMessage(f"Use the following context: {about}")]
