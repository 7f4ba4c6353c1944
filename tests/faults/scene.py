"""A fleet that is to be broken, its clients, and what must hold in the end whatever happened to it.

Every HTTP request carries a trace context of its own, so that afterwards each can be held against
the spans that came of it.
"""

import re
import secrets
import signal
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
from tests.support.apps import APPS
from tests.support.fleet import Fleet, SessionServer, check_one_owner, running_fleet
from tests.support.mcp_http import BOTH, HttpSession, JsonObject, SseEvent, call
from tests.support.processes import ServiceProcess
from tests.support.waiting import wait_until

from linkspan_propagation.testing import ExportedSpan, OtlpReceiver, assert_one_trace, traces

FAULT_COUNTING: Final = str(APPS / "fault_counting.py") + ":mcp"

LOST: Final = -32000
"""The JSON-RPC error of a call of which nobody knows how far it got."""

ROOT: Final = "mcp.request"
"""The worker's span of an HTTP request."""

CHORES: Final = ("session.sleep", "session.sweep", "session.drain")
"""The spans of what a session server does by itself."""

_REFUSED: Final = re.compile(r"linkspan_session\.commits .*refused session=")
_THREADS: Final = 64


@dataclass(frozen=True, slots=True)
class Sent:
    """An HTTP request of a client.

    Attributes:
        trace_id: The trace that it belongs to.
        span_id: The client's span, which nobody exports.
        port: The port that it went to.
        what: The method, for failures.
    """

    trace_id: str
    span_id: str
    port: int
    what: str


@dataclass(slots=True)
class Scene:
    """A running fleet and all that was done to it.

    Attributes:
        fleet: Its processes.
        receiver: Where their spans go.
        folder: Where the tools of `fault_counting` leave their marks.
        threads: For requests that take long.
        sent: All requests of clients.
        killed: The ids of processes that were killed and cannot have told all of their spans.
        killed_ports: The ports of workers that were killed.
        unheard: The traces of requests that may not have reached a worker.
    """

    fleet: Fleet
    receiver: OtlpReceiver
    folder: Path
    threads: ThreadPoolExecutor
    sent: list[Sent] = field(default_factory=list[Sent])
    killed: set[int] = field(default_factory=set[int])
    killed_ports: set[int] = field(default_factory=set[int])
    unheard: set[str] = field(default_factory=set[str])

    # --- clients ---------------------------------------------------------------------------------

    @contextmanager
    def client(self) -> Generator[httpx2.Client]:
        """Make an HTTP client whose requests are traced."""
        hooks = {"request": [self._trace]}
        with httpx2.Client(timeout=30, event_hooks=hooks) as http:
            yield http

    @contextmanager
    def session(self, address: str) -> Generator[HttpSession]:
        """Open a session; it is left to itself at the end."""
        with self.client() as http:
            response = initialize(http, address)
            assert response.status_code == 200, response.text
            session = HttpSession(http, address, response.headers["mcp-session-id"], VERSION)
            assert session.post(INITIALIZED).status_code == 202
            yield session

    def post_later(
        self, session: HttpSession, tool: str, arguments: JsonObject
    ) -> "Future[httpx2.Response]":
        """Call a tool in a thread."""
        return self.threads.submit(session.post, call(tool, arguments))

    def never_heard(self, error: httpx2.TransportError) -> None:
        """Note that a request may not have reached a worker, so that it need not be a trace."""
        self.unheard.add(error.request.headers["traceparent"].split("-")[1])

    def _trace(self, request: httpx2.Request) -> None:
        sent = Sent(
            secrets.token_hex(16), secrets.token_hex(8), request.url.port or 80, request.method
        )
        request.headers["traceparent"] = f"00-{sent.trace_id}-{sent.span_id}-01"
        self.sent.append(sent)

    # --- what handlers do ------------------------------------------------------------------------

    def runs(self, name: str) -> list[int]:
        """Return the ids of the processes in which a handler has begun, oldest first."""
        return [int(line) for line in self._lines(f"{name}.runs")]

    def outcomes(self, name: str) -> list[str]:
        """Return what became of a handler's writing, and in which process."""
        return self._lines(f"{name}.outcome")

    def wait_begun(self, name: str, times: int = 1) -> int:
        """Wait until a handler has begun so many times; returns the process of the last."""
        wait_until(lambda: len(self.runs(name)) >= times, f"{name} to begin")
        return self.runs(name)[-1]

    def let_go(self, name: str) -> None:
        """Let a handler that waits go on."""
        (self.folder / f"{name}.go").touch()

    def kill_at_next_commit(self) -> None:
        """Have the next process that commits something killed before anybody hears of that."""
        (self.folder / "die").touch()

    def _lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    # --- what is done to processes ---------------------------------------------------------------

    def server(self, pid: int) -> SessionServer:
        """Return the session server whose process has this id."""
        return next(each for each in self.fleet.servers if each.process.pid == pid)

    def worker(self, address: str) -> ServiceProcess:
        """Return the worker that runs at an address."""
        return next(
            each
            for each in self.fleet.workers
            if each.running and any(line.endswith(address) for line in each.output)
        )

    def kill(self, server: SessionServer) -> None:
        """Kill a session server with SIGKILL, and wait until it is gone."""
        self.killed.add(server.process.pid)
        server.process.signal(signal.SIGKILL)
        server.process.wait()

    def wait_killed(self) -> SessionServer:
        """Wait until a session server has killed itself; returns it."""
        wait_until(lambda: not (self.folder / "die").exists(), "a session server to die")
        wait_until(lambda: bool(self._dead()), "its end")
        (dead,) = self._dead()
        self.killed.add(dead.process.pid)
        assert dead.process.wait() == -signal.SIGKILL
        return dead

    def stop(self, server: SessionServer) -> None:
        """Stop a session server with SIGSTOP: it keeps its connections and says nothing."""
        server.process.signal(signal.SIGSTOP)
        self.wait_stopped(server)

    def wait_stopped(self, server: SessionServer) -> None:
        """Wait until a session server is stopped, whoever has stopped it."""
        stat = Path(f"/proc/{server.process.pid}/stat")
        wait_until(
            lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "it to be stopped"
        )

    def go_on(self, server: SessionServer) -> None:
        """Let a session server go on that was stopped."""
        server.process.signal(signal.SIGCONT)

    def kill_worker(self, address: str) -> None:
        """Kill the worker at an address with SIGKILL, and wait until it is gone."""
        worker = self.worker(address)
        self.killed.add(worker.pid)
        self.killed_ports.add(urlsplit(address).port or 80)
        worker.signal(signal.SIGKILL)
        worker.wait()

    def _dead(self) -> list[SessionServer]:
        return [
            each
            for each in self.fleet.servers
            if each.process.pid not in self.killed and not each.process.running
        ]

    def refusals(self, server: SessionServer) -> int:
        """Return how many commits of a session server were refused."""
        return sum(1 for line in server.log if _REFUSED.search(line))

    def trace_of(self, response: httpx2.Response) -> list[ExportedSpan]:
        """Return the trace of a request, once the worker has told of it."""
        trace_id = response.request.headers["traceparent"].split("-")[1]

        def is_told(spans: list[ExportedSpan]) -> bool:
            return any(each.name == ROOT and each.trace_id == trace_id for each in spans)

        spans = self.receiver.wait_for(is_told, what=f"{ROOT} of {trace_id}")
        return traces(spans)[trace_id]

    # --- what must hold --------------------------------------------------------------------------

    def check(self) -> None:
        """Stop what still runs, and look whether all is as it must be."""
        running = [each.process for each in self.fleet.servers]
        for processes in (self.fleet.workers, running):
            living = [each for each in processes if each.pid not in self.killed]
            for process in living:
                process.signal(signal.SIGTERM)
            for process in living:
                assert process.wait() == 0, process.errors
        for log in self._logs():
            assert not [line for line in log if "Traceback" in line], log
        commits = self.fleet.commits()
        assert commits
        check_one_owner(commits)
        self.check_traces()

    def check_traces(self) -> None:
        """Fail unless each request is one trace, as far as the processes lived to tell of it."""
        by_trace = traces(self.receiver.spans())
        for sent in self.sent:
            spans = by_trace.pop(sent.trace_id, [])
            if sent.port in self.killed_ports:
                self._check_without_root(spans, sent)
                continue
            if not spans and sent.trace_id in self.unheard:
                continue
            assert_one_trace(self._without_orphans(spans), remote_parents={sent.span_id})
        begun = {trace: spans for trace, spans in by_trace.items() if spans[0].name not in CHORES}
        assert not begun, f"traces that no client began: {begun}"

    def _without_orphans(self, spans: list[ExportedSpan]) -> list[ExportedSpan]:
        """Leave out what a killed process told of and whose parent went with it."""
        kept = {span.span_id: span for span in spans}
        while True:
            orphans = [
                span
                for span in kept.values()
                if span.parent_span_id not in kept
                and span.name != ROOT
                and span.resource["process.pid"] in self.killed
            ]
            if not orphans:
                return list(kept.values())
            for span in orphans:
                del kept[span.span_id]

    @staticmethod
    def _check_without_root(spans: list[ExportedSpan], sent: Sent) -> None:
        """Check a request whose worker was killed: what is left has one parent, the worker's span.

        Unless it was answered before, and the span came out.
        """
        ids = {span.span_id for span in spans}
        parents = {span.parent_span_id for span in spans if span.parent_span_id not in ids}
        assert len(parents) <= 1, spans
        assert sent.span_id not in parents or any(span.name == ROOT for span in spans)

    def _logs(self) -> Iterable[list[str]]:
        yield from (each.log for each in self.fleet.servers)
        yield from (each.errors for each in self.fleet.workers)


@contextmanager
def scene(
    store: str,
    folder: Path,
    *,
    servers: int = 2,
    session_arguments: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
) -> Generator[Scene]:
    """Run a fleet with `fault_counting` until the block is left, and then look what became of it.

    Args:
        store: The address of the store.
        folder: Where handlers leave their marks.
        servers: How many session servers to begin with.
        session_arguments: More words for each `linkspan session`.
        env: More variables for all processes.
    """
    marks = folder / "marks"
    marks.mkdir()
    variables = {
        "FAULT_FOLDER": str(marks),
        "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "otel,process",  # `process.pid` on each span
        **(env or {}),
    }
    with (
        OtlpReceiver() as receiver,
        running_fleet(
            store,
            servers=servers,
            app=FAULT_COUNTING,
            receiver=receiver,
            env=variables,
            session_arguments=session_arguments,
        ) as fleet,
        ThreadPoolExecutor(_THREADS) as threads,
    ):
        made = Scene(fleet, receiver, marks, threads)
        try:
            yield made
        except BaseException:
            for process in (*(each.process for each in fleet.servers), *fleet.workers):
                process.kill()  # so that no thread waits for an answer
            raise
        made.check()


VERSION: Final = "2025-11-25"

INITIALIZED: Final[JsonObject] = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def initialize(http: httpx2.Client, address: str) -> httpx2.Response:
    """Ask for a session."""
    params = {
        "protocolVersion": VERSION,
        "capabilities": {},
        "clientInfo": {"name": "fault", "version": "1"},
    }
    message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    return http.post(address, json=message, headers={"accept": BOTH})


def messages_of(response: httpx2.Response) -> list[JsonObject]:
    """Return all messages of a response."""
    if response.headers.get("content-type") == "application/json":
        return [response.json()]
    lines = response.text.splitlines()
    said_in = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [httpx2.Response(200, text=text).json() for text in said_in if text]


def final(messages: Iterable[JsonObject]) -> JsonObject:
    """Return the one answer among messages, which must be the last of them."""
    listed = list(messages)
    answers = [each for each in listed if "result" in each or "error" in each]
    assert len(answers) == 1, listed
    assert listed[-1] is answers[0], listed
    return answers[0]


def result_of(response: httpx2.Response) -> dict[str, Any]:
    """Return what a tool answered."""
    assert response.status_code == 200, response.text
    return structured(final(messages_of(response)))


def structured(answer: JsonObject) -> dict[str, Any]:
    """Return the structured content of a tool's answer."""
    assert "result" in answer, answer
    content: dict[str, Any] = answer["result"]["structuredContent"]
    return content


def error_of(response: httpx2.Response) -> int:
    """Return the code of the error that a response is."""
    code: int = final(messages_of(response))["error"]["code"]
    return code


def ask(session: HttpSession, tool: str, arguments: JsonObject | None = None) -> dict[str, Any]:
    """Call a tool and return what it answered."""
    return result_of(session.post(call(tool, arguments)))


def said(events: Iterable[SseEvent]) -> list[JsonObject]:
    """Return the messages of events, without those that say nothing."""
    return [event.json for event in events if event.data]
