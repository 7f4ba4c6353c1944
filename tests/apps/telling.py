"""A server whose tools tell of their trace context, and hurt their telemetry."""

from typing import Any

from mcp.server.mcpserver import MCPServer
from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

mcp = MCPServer("telling")


class _Raising(SpanProcessor):
    """A processor that fails at all it is asked."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        del span, parent_context
        raise LookupError("on_start")

    def on_end(self, span: ReadableSpan) -> None:
        del span
        raise LookupError("on_end")


class _Wordless:
    """Has no text, so that it cannot be an attribute."""


@mcp.tool()
def baggage_of(name: str) -> str:
    """Return what the caller's baggage says under a name."""
    return str(baggage.get_baggage(name))


@mcp.tool()
def break_processors() -> str:
    """Add a span processor that raises."""
    provider: Any = trace.get_tracer_provider()
    provider.add_span_processor(_Raising())
    return "added"


@mcp.tool()
def describe(count: int) -> str:
    """Set many attributes on the current span, and one of each kind that cannot be sent."""
    span = trace.get_current_span()
    for number in range(count):
        span.set_attribute(f"a{number}", number)
    hopeless: Any = _Wordless()
    nested: list[Any] = []
    nested.append(nested)
    for name, value in (
        ("wordless", hopeless),
        ("nested", nested),
        ("surrogate", "\ud800"),
        ("huge", 1 << 80),
        ("mixed", [1, "a", hopeless]),
    ):
        span.set_attribute(name, value)
    return "described"


@mcp.tool()
def lost() -> dict[str, int]:
    """Return how many spans this process has lost, by reason."""
    provider: Any = trace.get_tracer_provider()
    return dict(provider.dropped_spans())
