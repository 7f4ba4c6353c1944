"""The `traceresponse` header: a response says which span it was, for a person with curl.

Source: https://w3c.github.io/trace-context/#traceresponse-header, a draft.
"""

from typing import Final

from opentelemetry.trace import Span

from linkspan_propagation import TRACERESPONSE

_NONE: Final = ""


def traceresponse_line(span: Span) -> str:
    """Write the header that names a span, with its line end; empty if there is no span of ours."""
    context = span.get_span_context()
    # Where nothing traces, the span of a request is the client's own.
    if context.is_remote or not context.is_valid:
        return _NONE
    return (
        f"{TRACERESPONSE}: 00-{context.trace_id:032x}-{context.span_id:016x}"
        f"-{context.trace_flags:02x}\r\n"
    )
