"""How far the trace context of a caller is trusted, and which of its headers may be told of.

Pure. Above lies `request_span`; whether a caller's sampling flag counts is for the process's sampler
to heed (`linkspan_tracing.UntrustingSampler`), for it alone decides.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, get_current_span

from linkspan_worker.headers import Headers

_HEADER_ATTRIBUTE: Final = "mcp.http.header."
_MAX_VALUE_CHARS: Final = 256


@dataclass(frozen=True, slots=True)
class CallerTrust:
    """What a worker makes of its callers' trace contexts and headers.

    Attributes:
        links: Whether callers' traces are linked to and not continued.
        captured: The headers whose values become attributes, in lower case.
    """

    links: bool = False
    captured: Collection[str] = ()


def apart(parent: Context, links: list[Link]) -> tuple[Context, list[Link]]:
    """Make of a caller's span, if there is one, the first link; its baggage stays."""
    caller = get_current_span(parent).get_span_context()
    if not caller.is_valid:
        return parent, links
    return trace.set_span_in_context(trace.INVALID_SPAN, parent), [Link(caller), *links]


def captured_headers(headers: Headers, names: Collection[str]) -> Mapping[str, str]:
    """Return the attributes for these headers; several of one name are one (RFC 9110, section 5.3)."""
    return {
        _HEADER_ATTRIBUTE + name: ", ".join(values)[:_MAX_VALUE_CHARS]
        for name in names
        if (values := headers.all(name))
    }
