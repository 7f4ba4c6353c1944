"""Scenarios whose exported spans are compared with pictures: text files that are committed.

Each request of a client has a span of the client's own, exported to the same receiver, so that a
picture begins where a user would look first. A scenario's picture is compared as soon as all is
there, and once more when the processes have ended and have told all that they had: what comes late
must not change it.

    make pictures

draws all pictures anew, for somebody to look at and commit. That sets `REDRAW_PICTURES`, which
does nothing where `CI` is set.
"""

import json
import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

import httpx2
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Span, SpanKind
from tests.support.mcp_http import BOTH, HttpSession, JsonObject

from linkspan_propagation import inject_into_fields
from linkspan_propagation.testing import (
    ExportedSpan,
    OtlpReceiver,
    assert_picture,
    draw_picture,
    traces,
)
from linkspan_propagation.testing.pictures import PictureOptions

PICTURES: Final = Path(__file__).parent / "pictures"
WAIT_SECONDS: Final = 15.0
VERSION: Final = "2025-11-25"

PROCESS_IDS: Final = {"OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "otel,process"}
"""Has each span name the process that it is from, by the resource's `process.pid`."""

_REDRAWING: Final = bool(os.environ.get("REDRAW_PICTURES")) and not os.environ.get("CI")

_STYLE: Final[PictureOptions] = {
    "attributes": (
        "http.response.status_code",
        "rpc.response.status_code",
        "mcp.rpc.error.code",
        "error.type",
        "mcp.session.restore.outcome",
    ),
    "details": (
        "http.request.method",
        "mcp.session.id",
        "mcp.protocol.version",
        "mcp.rpc.method",
        "mcp.rpc.is_error",
        "mcp.rpc.error.message",
        "mcp.client.name",
        "mcp.client.version",
        "mcp.client.protocol_version",
        "mcp.client.capability.keys",
        "mcp.tool.name",
        "mcp.tool.result.is_error",
        "mcp.elicitation.action",
        "mcp.response.content_type",
        "mcp.session.owner_match",
        "mcp.auth.verified",
        "mcp.auth.outcome",
        "mcp.method.name",
        "gen_ai.operation.name",
        "gen_ai.tool.name",
        "linkspan.sessions.asleep",
        "linkspan.sessions.swept",
        "linkspan.calls.running",
    ),
    "events": {
        "exception": ("exception.type",),
        "linkspan.resend": ("reason",),
        "linkspan.owner.probed": ("linkspan.outcome",),
        "linkspan.lease.awaited": (),
    },
    "varying": {"mcp.session.id": "session"},
}


@dataclass(slots=True)
class _Watch:
    """What one scenario is about.

    Attributes:
        picture: The name of its picture.
        trace_ids: The traces that its clients have begun.
        chores: The names of spans that a server begins by itself; of each its first trace.
        server: The id of that server's process.
        roles: What processes are called in it, by id.
    """

    picture: str
    chores: Sequence[str]
    server: int
    roles: dict[int, str]
    trace_ids: set[str] = field(default_factory=set[str])

    def spans(self, exported: Iterable[ExportedSpan]) -> list[ExportedSpan]:
        """Return the spans that belong into the picture."""
        by_trace = traces(exported)
        wanted = set(self.trace_ids)
        for chore in self.chores:
            begun = [
                spans[0]
                for spans in by_trace.values()
                if spans[0].name == chore and pid_of(spans[0]) == self.server
            ]
            if begun:
                wanted.add(min(begun, key=lambda each: each.start_unix_nanos).trace_id)
        return [
            replace(span, service_name=self._name(span))
            for trace_id in wanted
            for span in by_trace.get(trace_id, ())
        ]

    def _name(self, span: ExportedSpan) -> str:
        role = self.roles.get(pid_of(span))
        return span.service_name if role is None else f"{span.service_name}, {role}"


class Stage:
    """Where scenarios take place: a receiver, clients whose requests are traced, pictures."""

    def __init__(self, receiver: OtlpReceiver) -> None:
        self.receiver = receiver
        self.roles: dict[int, str] = {}
        """What processes are called from now on, by id."""
        self._provider = TracerProvider(resource=Resource({"service.name": "client"}))
        self._provider.add_span_processor(
            SimpleSpanProcessor(OTLPSpanExporter(receiver.endpoint, insecure=True))
        )
        self._tracer = self._provider.get_tracer("tests")
        self._watches: list[_Watch] = []
        self._watch: _Watch | None = None
        self._open: list[Span] = []

    @contextmanager
    def watch(
        self, picture: str, *, chores: Sequence[str] = (), server: int = 0
    ) -> Generator[None]:
        """Have the requests that begin within the block be a picture; compare it at the end.

        Args:
            picture: The name of a file in `pictures/`, without `.txt`.
            chores: Names of spans that belong into it and that a server begins by itself.
            server: The id of that server's process.
        """
        watch = self._watch = _Watch(picture, chores, server, dict(self.roles))
        self._watches.append(watch)
        try:
            yield
        except BaseException:
            self._watches.remove(watch)
            raise
        finally:
            self._watch = None
            self._end_all()
        watch.roles.update(self.roles)
        if not _REDRAWING:
            self._wait(watch)

    def last_look(self) -> None:
        """Compare all pictures again, when the processes have ended; or draw them."""
        self._end_all()
        self._provider.shutdown()
        exported = self.receiver.spans()
        for watch in self._watches:
            path = PICTURES / f"{watch.picture}.txt"
            spans = watch.spans(exported)
            if _REDRAWING:
                path.write_text(draw_picture(spans, **_STYLE) + "\n", encoding="utf-8")
                continue
            try:
                assert_picture(spans, path.read_text(encoding="utf-8"), **_STYLE)
            except AssertionError as error:
                error.add_note(f"the picture is {path.name}; something came late")
                raise

    def wait_for_span(self, name: str, process_id: int) -> None:
        """Wait until a span of a name has come from a process."""
        self.receiver.wait_for(
            lambda spans: any(span.name == name and pid_of(span) == process_id for span in spans),
            WAIT_SECONDS,
            name,
        )

    def wait_until_told(self) -> None:
        """Wait until worker and session server have told of each request of this scenario so far."""
        assert self._watch is not None
        begun = set(self._watch.trace_ids)

        def are_there(spans: list[ExportedSpan]) -> bool:
            names = {(span.trace_id, span.name) for span in spans}
            return names >= {
                (trace_id, name)
                for trace_id in begun
                for name in ("mcp.request", "McpSession.handleRequest")
            }

        self.receiver.wait_for(are_there, WAIT_SECONDS, "what became of each request")

    def wait_until_marked(self, *names: str) -> None:
        """Wait until open spans of these names have start markers, which a kill leaves."""
        assert self._watch is not None
        watch = self._watch

        def are_known(spans: list[ExportedSpan]) -> bool:
            return {span.name for span in watch.spans(spans) if span.is_open} >= set(names)

        self.receiver.wait_for(are_known, WAIT_SECONDS, f"markers of {names}")

    # --- clients ---------------------------------------------------------------------------------

    @contextmanager
    def client(self) -> Generator[httpx2.Client]:
        """Make an HTTP client whose requests are traced."""
        hooks = {"request": [self._begin]}
        with httpx2.Client(timeout=30, event_hooks=hooks) as http:
            yield http

    @contextmanager
    def session(
        self, address: str, capabilities: JsonObject | None = None
    ) -> Generator[HttpSession]:
        """Open a session; it is left to itself at the end."""
        with self.client() as http:
            session = initialize(http, address, capabilities)
            yield session

    def _begin(self, request: httpx2.Request) -> None:
        span = self._tracer.start_span(_name_of(request), Context(), SpanKind.CLIENT)
        self._open.append(span)
        request.headers.update(inject_into_fields(trace.set_span_in_context(span, Context())))
        if self._watch is not None:
            self._watch.trace_ids.add(f"{span.get_span_context().trace_id:032x}")

    def _end_all(self) -> None:
        for span in self._open:
            span.end()
        self._open.clear()

    def _wait(self, watch: _Watch) -> None:
        expected = (PICTURES / f"{watch.picture}.txt").read_text(encoding="utf-8")

        def is_there(spans: list[ExportedSpan]) -> bool:
            return draw_picture(watch.spans(spans), **_STYLE) == expected.strip("\n")

        with suppress(AssertionError):
            self.receiver.wait_for(is_there, WAIT_SECONDS)
            return
        self._watches.remove(watch)  # once is enough
        assert_picture(watch.spans(self.receiver.spans()), expected, **_STYLE)


@contextmanager
def staged() -> Generator[Stage]:
    """Make a stage whose pictures are looked at again at the end, outside of what runs on it."""
    with OtlpReceiver() as receiver:
        stage = Stage(receiver)
        yield stage
        stage.last_look()


def initialize(
    http: httpx2.Client, address: str, capabilities: JsonObject | None = None
) -> HttpSession:
    """Open a session by hand."""
    params = {
        "protocolVersion": VERSION,
        "capabilities": capabilities or {},
        "clientInfo": {"name": "by-hand", "version": "1"},
    }
    message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    response = http.post(address, json=message, headers={"accept": BOTH})
    assert response.status_code == 200, response.text
    session = HttpSession(http, address, response.headers["mcp-session-id"], VERSION)
    initialized = session.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert initialized.status_code == 202
    return session


def pid_of(span: ExportedSpan) -> int:
    """Return the id of the process that a span is from; 0 if it does not say."""
    pid = span.resource.get("process.pid")
    return pid if isinstance(pid, int) else 0


def _name_of(request: httpx2.Request) -> str:
    """Name a client's span by what is asked."""
    message = _message_in(request)
    if message is None:
        return f"{request.method} /mcp"
    params = cast("dict[str, Any]", message.get("params") or {})
    words = [message.get("method", "answer"), params.get("name", "")]
    return " ".join(str(word) for word in words if word)


def _message_in(request: httpx2.Request) -> dict[str, Any] | None:
    try:
        message: object = json.loads(request.content)
    except ValueError:
        return None
    return cast("dict[str, Any]", message) if isinstance(message, dict) else None
