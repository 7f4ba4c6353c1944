"""What a handler does to its client while it runs: logging, progress, questions, notifications.

Questions (sampling, elicitation) travel as requests of the server, which protocol versions up to
2025-11-25 allow; `everything_input_required` holds the way of 2026-07-28.

The SDK calls logging and sampling deprecated, since 2026-07-28 does; both stay in use for years.

Log level and subscriptions belong to a session. They live in the SDK's own dictionary of the client
connection and are plain JSON values; a module variable would mix the sessions of all clients.
"""

import asyncio
import json
from typing import Any, cast, get_args

from mcp.server import MCPServer, ServerRequestContext
from mcp.server.mcpserver import Context
from mcp.server.session import ServerSession
from mcp_types import (
    ElicitRequestedSchema,
    EmptyResult,
    LoggingLevel,
    SamplingMessage,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    UnsubscribeRequestParams,
)

WATCHED_URI = "test://watched-resource"

PAUSE_SECONDS = 0.05
"""Between two messages of one call, so that a client sees them arrive apart."""

RECONNECT_SECONDS = 0.2
"""How long `test_reconnection` works on after it has closed its stream."""

LOG_LEVELS: tuple[LoggingLevel, ...] = get_args(LoggingLevel)
"""From the least to the most severe."""


def register(mcp: MCPServer) -> None:
    """Add the tools and request handlers of this module to the server."""
    _add_reports(mcp)
    _add_questions(mcp)
    _add_changes(mcp)
    _add_session_settings(mcp)


def _session_state(session: ServerSession) -> dict[str, Any]:
    """The session's scratch values: on the SDK's connection, without a public name yet."""
    return session._connection.state  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001


async def _log(ctx: Context, text: str) -> None:
    """Log the text at level info, unless the session asked for graver messages only."""
    threshold = cast("LoggingLevel", _session_state(ctx.session).get("log_level", "debug"))
    if LOG_LEVELS.index("info") >= LOG_LEVELS.index(threshold):
        await ctx.session.send_log_message(  # pyright: ignore[reportDeprecated]
            "info", text, related_request_id=ctx.request_id
        )


def _add_reports(mcp: MCPServer) -> None:
    async def log_in_steps(ctx: Context) -> str:
        await _log(ctx, "Tool execution started")
        await asyncio.sleep(PAUSE_SECONDS)
        await _log(ctx, "Tool processing data")
        await asyncio.sleep(PAUSE_SECONDS)
        await _log(ctx, "Tool execution completed")
        return "Tool with logging executed successfully"

    @mcp.tool()
    async def test_tool_with_logging(ctx: Context) -> str:
        """Log three messages while it works."""
        return await log_in_steps(ctx)

    @mcp.tool()
    async def test_logging_tool(ctx: Context) -> str:
        """Log three messages, which 2026-07-28 sends only to a client that asked for a level."""
        return await log_in_steps(ctx)

    @mcp.tool()
    async def test_tool_with_progress(ctx: Context) -> str:
        """Report progress three times, if the client sent a progress token."""
        for progress in (0, 50, 100):
            if progress:
                await asyncio.sleep(PAUSE_SECONDS)
            await ctx.report_progress(progress, 100, f"Completed step {progress} of 100")
        return "Tool with progress executed successfully"

    @mcp.tool()
    async def test_reconnection(ctx: Context) -> str:
        """Close the response stream at work: the client comes back for the answer (SEP-1699)."""
        await ctx.close_sse_stream()
        await asyncio.sleep(RECONNECT_SECONDS)
        return "Reconnection test completed"


def _add_questions(mcp: MCPServer) -> None:
    @mcp.tool()
    async def test_sampling(prompt: str, ctx: Context) -> str:
        """Let the client's model answer the prompt."""
        message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
        # Without the request id the question would travel on the session's GET stream.
        result = await ctx.session.create_message(  # pyright: ignore[reportDeprecated]
            messages=[message], max_tokens=100, related_request_id=ctx.request_id
        )
        answer = result.content.text if isinstance(result.content, TextContent) else "no text"
        return f"LLM response: {answer}"

    async def ask(ctx: Context, message: str, schema: ElicitRequestedSchema) -> str:
        result = await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)
        return f"action={result.action}, content={json.dumps(result.content or {})}"

    @mcp.tool()
    async def test_elicitation(message: str, ctx: Context) -> str:
        """Show the message to the user and ask for a name and an address."""
        return f"User response: {await ask(ctx, message, CONTACT_FORM)}"

    @mcp.tool()
    async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
        """Ask with a default in every field (SEP-1034)."""
        return f"Elicitation completed: {await ask(ctx, 'Please review the values', DEFAULTS_FORM)}"

    @mcp.tool()
    async def test_elicitation_sep1330_enums(ctx: Context) -> str:
        """Ask with every form of choice (SEP-1330)."""
        return f"Elicitation completed: {await ask(ctx, 'Please choose', CHOICES_FORM)}"


def _add_changes(mcp: MCPServer) -> None:
    @mcp.tool()
    async def touch_watched_resource(ctx: Context) -> str:
        """Announce an update of `test://watched-resource` to those who subscribed to it."""
        if WATCHED_URI in _session_state(ctx.session).get("subscriptions", []):
            await ctx.session.send_resource_updated(WATCHED_URI)
        await ctx.notify_resource_updated(WATCHED_URI)
        return f"{WATCHED_URI} was updated"

    # Both only announce. The server object serves every session, so a list that one call changed
    # would change for all clients.
    @mcp.tool()
    async def test_trigger_tool_change(ctx: Context) -> str:
        """Announce a change of the tool list on the `subscriptions/listen` streams (SEP-2575)."""
        await ctx.notify_tools_changed()
        return "The tool list changed"

    @mcp.tool()
    async def test_trigger_prompt_change(ctx: Context) -> str:
        """Announce a change of the prompt list on the `subscriptions/listen` streams (SEP-2575)."""
        await ctx.notify_prompts_changed()
        return "The prompt list changed"


def _add_session_settings(mcp: MCPServer) -> None:
    """Serve `logging/setLevel` and `resources/(un)subscribe`, which 2026-07-28 removed."""

    async def set_level(ctx: ServerRequestContext, params: SetLevelRequestParams) -> EmptyResult:
        _session_state(ctx.session)["log_level"] = params.level
        return EmptyResult()

    async def subscribe(ctx: ServerRequestContext, params: SubscribeRequestParams) -> EmptyResult:
        subscriptions: list[str] = _session_state(ctx.session).setdefault("subscriptions", [])
        # The other resources never change, so only one address is worth remembering.
        if params.uri == WATCHED_URI and WATCHED_URI not in subscriptions:
            subscriptions.append(WATCHED_URI)
        return EmptyResult()

    async def unsubscribe(
        ctx: ServerRequestContext, params: UnsubscribeRequestParams
    ) -> EmptyResult:
        subscriptions: list[str] = _session_state(ctx.session).setdefault("subscriptions", [])
        if params.uri in subscriptions:
            subscriptions.remove(params.uri)
        return EmptyResult()

    # MCPServer has no decorator for these; the low-level server below it takes any method.
    lowlevel = mcp._lowlevel_server  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
    lowlevel.add_request_handler("logging/setLevel", SetLevelRequestParams, set_level)
    lowlevel.add_request_handler("resources/subscribe", SubscribeRequestParams, subscribe)
    lowlevel.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, unsubscribe)


CONTACT_FORM: ElicitRequestedSchema = {
    "type": "object",
    "properties": {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    },
    "required": ["username", "email"],
}

DEFAULTS_FORM: ElicitRequestedSchema = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {
            "type": "string",
            "enum": ["active", "inactive", "pending"],
            "default": "active",
        },
        "verified": {"type": "boolean", "default": True},
    },
}

CHOICES_FORM: ElicitRequestedSchema = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {
            "type": "string",
            "oneOf": [
                {"const": "value1", "title": "First Option"},
                {"const": "value2", "title": "Second Option"},
                {"const": "value3", "title": "Third Option"},
            ],
        },
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {
            "type": "array",
            "items": {"type": "string", "enum": ["option1", "option2", "option3"]},
        },
        "titledMulti": {
            "type": "array",
            "items": {
                "anyOf": [
                    {"const": "value1", "title": "First Choice"},
                    {"const": "value2", "title": "Second Choice"},
                    {"const": "value3", "title": "Third Choice"},
                ]
            },
        },
    },
}
