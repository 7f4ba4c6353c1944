"""A trace in one line: what a list shows of it and searches by. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from linkspan_traces.analysis.timing import extent_of_trace
from linkspan_traces.analysis.tree import build_tree
from linkspan_traces.model import Span


@dataclass(frozen=True, slots=True)
class Summary:
    """What a list shows of a trace.

    Attributes:
        name: The name of its first top.
        service: The service of its first top.
        start_nanos: When its first span began.
        duration_nanos: From there to when its last span ended.
        spans: How many there are.
        errors: How many have the status ERROR.
        open_spans: How many are not known to have ended.
        status: `error` if any span has the status ERROR, else `warning` if any says that something
            went wrong, else `ok`.
        stitch: `whole`, `outside` or `broken`, see `analysis.tree`.
        session: The session of the first span, in the tree's order, that names one; or empty.
        method: Likewise, the MCP method.
        tool: The tool of that request: of the first span that names one, from the span with the
            method on and before any with another method; of any span if none names a method.
        services: All services, in order of appearance.
        sessions: All sessions, methods and tools that any span names, for searching.
        methods: See `sessions`.
        tools: See `sessions`.
    """

    name: str
    service: str
    start_nanos: int
    duration_nanos: int
    spans: int
    errors: int
    open_spans: int
    status: str
    stitch: str
    session: str
    method: str
    tool: str
    services: tuple[str, ...]
    sessions: tuple[str, ...]
    methods: tuple[str, ...]
    tools: tuple[str, ...]


def is_failed(span: Span) -> bool:
    """Tell whether a span says that something went wrong, whoever's fault it was."""
    return span.status == "ERROR" or bool(span.failure)


def summarise(spans: Sequence[Span]) -> Summary:
    """Sum up the spans of one trace, at least one."""
    tree = build_tree(spans)
    extent = extent_of_trace(tree.spans)
    errors = sum(span.status == "ERROR" for span in tree.spans)
    warned = any(is_failed(span) for span in tree.spans)
    sessions = _different(span.session for span in tree.spans)
    methods = _different(span.method for span in tree.spans)
    tools = _different(span.tool for span in tree.spans)
    return Summary(
        name=tree.tops[0].name,
        service=tree.tops[0].service,
        start_nanos=extent.start,
        duration_nanos=extent.nanos,
        spans=len(tree.spans),
        errors=errors,
        open_spans=sum(span.is_open for span in tree.spans),
        status="error" if errors else "warning" if warned else "ok",
        stitch=tree.stitch,
        session=sessions[0] if sessions else "",
        method=methods[0] if methods else "",
        tool=_tool(tree.spans),
        services=_different(span.service for span in tree.spans),
        sessions=sessions,
        methods=methods,
        tools=tools,
    )


def _tool(spans: Sequence[Span]) -> str:
    """Find the tool that goes with the first method, as a trace may be of several requests."""
    first = next((place for place, span in enumerate(spans) if span.method), 0)
    for span in spans[first:]:
        if span.method not in ("", spans[first].method):
            break
        if span.tool:
            return span.tool
    return ""


def _different(values: Iterable[str]) -> tuple[str, ...]:
    """Return the values that are not empty, each once, in order."""
    return tuple(dict.fromkeys(value for value in values if value))
