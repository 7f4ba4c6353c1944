"""What Linkspan claims to do, as data: each claim, its source, and the tests that name it.

A test proves a claim by carrying `@requirement("its.id")`. `tests/unit/test_requirements.py` checks
both directions: every claim is proven by some test, every named id is a claim; and that
`docs/requirements.md` is this table.
"""

from dataclasses import dataclass
from typing import Final

import pytest

_SPEC_2025: Final = "https://modelcontextprotocol.io/specification/2025-11-25/basic"
_SPEC_2026: Final = "https://modelcontextprotocol.io/specification/2026-07-28/basic"
_TRANSPORT: Final = f"{_SPEC_2025}/transports#streamable-http"
_SESSIONS: Final = f"{_SPEC_2025}/transports#session-management"
_RESUME: Final = f"{_SPEC_2025}/transports#resumability-and-redelivery"
_SEP_1699: Final = (
    "https://modelcontextprotocol.io/seps/1699-support-sse-polling-via-server-side-disconnect"
)
_MODERN: Final = f"{_SPEC_2026}/transports/streamable-http"
_JSON_RPC: Final = "https://www.jsonrpc.org/specification"
_CONFORMANCE: Final = "https://github.com/modelcontextprotocol/conformance"
_HTTP: Final = "https://www.rfc-editor.org/rfc/rfc9110"
_W3C: Final = "https://www.w3.org/TR/trace-context-2/"
_SEP_414: Final = "https://modelcontextprotocol.io/seps/414-request-meta"
_TASKS: Final = "https://modelcontextprotocol.io/seps/2663-tasks-extension"
_TASKS_PAGE: Final = "docs/tasks.md"
_OPERATING: Final = "docs/operating.md"
_STORAGE: Final = "docs/storage.md"
_TRACING: Final = "docs/tracing.md"
_PROPAGATION: Final = "propagation/README.md"
_TUNNEL: Final = "tunnel/README.md"
_TRACES: Final = "docs/traces.md"
_BETWEEN: Final = "docs/between-services.md"
_LIMITS: Final = "docs/limits.md"
_METRICS: Final = "docs/metrics.md"
_OURS: Final = "docs/architecture.md"
_AUTH: Final = f"{_SPEC_2025}/authorization"
_AUTH_PAGE: Final = "docs/auth.md"
_BROWSERS_PAGE: Final = "docs/browsers-and-proxies.md"
_FETCH: Final = "https://fetch.spec.whatwg.org/"
_ATTACKS: Final = "docs/attacks.md"
_AUDIT: Final = "docs/audit.md"
_SECURITY: Final = "SECURITY.md"
_DEPLOY: Final = "deploy/README.md"
_RFC: Final = "https://www.rfc-editor.org/rfc"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One claim.

    Attributes:
        id: Its name, which tests refer to.
        text: What is claimed, in one sentence.
        source: Where it comes from: a specification, or a page of ours.
    """

    id: str
    text: str
    source: str


_ROWS: Final[tuple[tuple[str, str, str], ...]] = (
    # HTTP, both eras
    ("http.not-json", "A body that is not JSON gets 400 and -32700.", _JSON_RPC),
    ("http.not-json-rpc", "JSON that is not one JSON-RPC message gets 400 and -32600.", _JSON_RPC),
    ("http.batch", "A batch gets 400 and -32600 where the protocol version has none.", _TRANSPORT),
    (
        "http.content-type",
        "A POST that is not application/json gets 415.",
        f"{_HTTP}#section-15.5.16",
    ),
    (
        "http.accept",
        "A request that accepts no kind of answer gets 406.",
        f"{_HTTP}#section-15.5.7",
    ),
    ("http.too-large", "A body over 4 MiB gets 413, declared or not.", f"{_HTTP}#section-15.5.14"),
    (
        "http.long-target",
        "A target over 8 KiB gets 414, and the connection ends.",
        f"{_HTTP}#section-15.5.15",
    ),
    (
        "http.many-headers",
        "More than 100 headers get 431, and the connection ends.",
        "https://www.rfc-editor.org/rfc/rfc6585#section-5",
    ),
    (
        "http.deep-json",
        "A message nested in over 64 levels, or with a number no float holds, gets 400 and -32700.",
        _LIMITS,
    ),
    (
        "http.refused-body",
        "Of the body of a request that was refused, no more than 16 MiB is read and dropped.",
        "https://www.rfc-editor.org/rfc/rfc9112#section-9.6",
    ),
    ("http.method", "Another HTTP method gets 405 and Allow.", f"{_HTTP}#section-15.5.6"),
    ("http.options", "OPTIONS gets 204 and Allow.", f"{_HTTP}#section-9.3.7"),
    ("http.path", "Another path gets 404.", f"{_HTTP}#section-15.5.5"),
    (
        "http.json-or-stream",
        "An answer is one JSON body unless something comes before it.",
        _TRANSPORT,
    ),
    ("http.json-only", "A client that accepts JSON only gets the answer alone.", _TRANSPORT),
    ("http.stream-only", "A client that accepts event streams only gets a stream.", _TRANSPORT),
    ("http.liveness", "A silent stream carries comments.", _OURS),
    ("http.health", "/healthz says alive; /readyz says whether requests can be served.", _OURS),
    (
        "http.rebinding",
        "On loopback, a foreign Host gets 421 and a foreign Origin 403.",
        f"{_SPEC_2025}/transports#security-warning",
    ),
    # Web pages and proxies
    (
        "cors.origins",
        "Browsers are told of an allowed origin that it may read answers, and of no other.",
        f"{_FETCH}#http-access-control-allow-origin",
    ),
    (
        "cors.credentials",
        "No answer is for every origin, and none asks for cookies.",
        f"{_FETCH}#cors-protocol-and-credentials",
    ),
    (
        "cors.exposed",
        "A page can read the headers of an answer that clients need, on errors too.",
        f"{_FETCH}#http-access-control-expose-headers",
    ),
    (
        "cors.preflight",
        "A preflight allows the headers that MCP and W3C Trace Context have clients send.",
        f"{_FETCH}#http-access-control-allow-headers",
    ),
    (
        "cors.metadata",
        "A page of an allowed origin can look up the protected resource metadata.",
        f"{_FETCH}#cors-protocol",
    ),
    (
        "cors.caches",
        "What depends on the origin says so to caches.",
        f"{_FETCH}#cors-protocol-and-http-caches",
    ),
    (
        "cors.browser",
        "A page in Chromium calls tools from an allowed origin, and from another it cannot.",
        _BROWSERS_PAGE,
    ),
    (
        "proxies.untrusted",
        "What anybody but a trusted proxy says of a request's way changes nothing.",
        f"{_RFC}/rfc7239#section-8.1",
    ),
    ("proxies.forwarded", "Forwarded is read as its grammar has it.", f"{_RFC}/rfc7239#section-4"),
    ("proxies.usual", "X-Forwarded-For takes addresses with and without ports.", _BROWSERS_PAGE),
    (
        "proxies.walk",
        "The client is the first from the right that is no trusted proxy.",
        f"{_RFC}/rfc7239#section-8.1",
    ),
    (
        "proxies.unreadable",
        "What cannot be read of a request's way is no error, and counts as not said.",
        _BROWSERS_PAGE,
    ),
    ("proxies.both", "Where both kinds of header differ, neither is believed.", _BROWSERS_PAGE),
    ("proxies.host", "A host that a proxy names has to be one's own, beside Host.", _BROWSERS_PAGE),
    (
        "proxies.exposed",
        "Behind a trusted proxy, a worker asks who calls, or was told not to.",
        _BROWSERS_PAGE,
    ),
    (
        "proxies.span",
        "The span of a request says who sent it behind trusted proxies, and who is the peer.",
        "https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server-span",
    ),
    # Handshake era
    ("session.initialize", "initialize opens a session and names it in Mcp-Session-Id.", _SESSIONS),
    ("session.failed-initialize", "A failed initialize leaves no session.", _SESSIONS),
    ("session.again", "A second initialize of a session is refused with -32600.", _SESSIONS),
    ("session.missing-id", "A request without a session id gets 400 and -32600.", _SESSIONS),
    ("session.unknown", "An unknown session gets 404.", _SESSIONS),
    ("session.ended", "DELETE ends a session, which then gets 404.", _SESSIONS),
    (
        "session.bad-id",
        "An id that no session can have gets 404; two that differ get 400.",
        _SESSIONS,
    ),
    ("session.notification", "A notification or response gets 202 and no body.", _TRANSPORT),
    ("session.method-unknown", "An unknown method gets -32601 with status 200.", _JSON_RPC),
    ("session.params-invalid", "Invalid parameters get -32602 with status 200.", _JSON_RPC),
    ("session.disconnect", "A disconnect does not cancel the request.", _TRANSPORT),
    (
        "session.cancelled",
        "notifications/cancelled stops the request.",
        f"{_SPEC_2025}/utilities/cancellation",
    ),
    ("session.equal-ids", "Concurrent requests with equal ids get each its own answer.", _OURS),
    ("session.survives", "A session outlives its session server and its worker.", _OURS),
    (
        "session.version",
        "An unknown version in initialize is answered with one that is served.",
        f"{_SPEC_2025}/lifecycle#version-negotiation",
    ),
    ("session.listen", "GET opens the listening stream; a newer one replaces it.", _TRANSPORT),
    (
        "session.server-asks",
        "A request of the server finds its answer in another POST.",
        _TRANSPORT,
    ),
    # Streams of the handshake era
    (
        "resume.ids",
        "Every event of a stream has an id; from 2025-11-25 on a priming event comes first.",
        _RESUME,
    ),
    (
        "resume.replay",
        "Last-Event-ID replays what that stream missed and nothing of another.",
        _RESUME,
    ),
    (
        "resume.silent-call",
        "A call that is silent for a second opens a stream that can be resumed.",
        _RESUME,
    ),
    (
        "resume.close-on-purpose",
        "A handler may close its stream; the client comes back for the rest.",
        _SEP_1699,
    ),
    (
        "resume.listening",
        "What was said while a client was away is replayed when it listens again.",
        _RESUME,
    ),
    (
        "resume.unknown-event",
        "An event id that is not of this session gets 400 and -32600.",
        _RESUME,
    ),
    (
        "resume.restart",
        "Streams are resumed after a restart; a lost request ends in one error.",
        _OURS,
    ),
    ("resume.link", "A resumed stream links to the request that made it.", _OURS),
    (
        "ask.trace",
        "A request of the server carries its span; the reply's mcp.request links to it.",
        _SEP_414,
    ),
    (
        "ask.outcomes",
        "A request of the server ends in one outcome, whatever its client does.",
        _TRANSPORT,
    ),
    (
        "batch",
        "A batch is answered in 2025-03-26 and refused in other versions.",
        "https://modelcontextprotocol.io/specification/2025-03-26/basic/transports#sending-messages-to-the-server",
    ),
    ("stream.cut-off", "A reader that does not drain is cut off, logged, and can resume.", _OURS),
    ("stream.neighbours", "A slow reader costs no other client its answers.", _OURS),
    ("stream.listen-timeout", "A listening stream ends cleanly after its time.", _OURS),
    # 2026-07-28
    (
        "modern.alone",
        "A POST that carries its own envelope is answered without a session.",
        _MODERN,
    ),
    ("modern.version", "An unsupported version gets 400 and -32022.", _MODERN),
    ("modern.envelope", "A request without its envelope gets 400 and -32602.", _MODERN),
    ("modern.headers", "Headers that disagree with the body get 400 and -32020.", _MODERN),
    ("modern.method-unknown", "An unknown method gets 404 and -32601.", _MODERN),
    ("modern.post-only", "GET and DELETE get 405.", _MODERN),
    ("modern.disconnect", "Closing the response cancels the request.", _MODERN),
    ("modern.no-response", "A response from a client gets 400 and -32600.", _MODERN),
    # Errors
    (
        "error.session-server-down",
        "Without a session server: 503, Retry-After, and recovery.",
        _OURS,
    ),
    (
        "error.store-down",
        "Without its store a session server answers 503, Retry-After, and recovers.",
        _OURS,
    ),
    ("error.timeout", "A request over its time gets one error and is stopped.", _OURS),
    (
        "error.handler",
        "What a handler raises stays in the log; the client gets a correlation id.",
        _OURS,
    ),
    ("error.unwritable-answer", "An answer that is not JSON becomes an internal error.", _OURS),
    # Command line
    ("cli.app-missing", "An --app that does not import stops the start with one line.", _OURS),
    ("cli.app-wrong", "An --app that is no MCP server stops the start with one line.", _OURS),
    ("cli.port-in-use", "A port in use stops the start with one line.", _OURS),
    ("settings.documented", "The README names each setting of both services.", "README.md"),
    ("cli.bad-setting", "An unknown or bad setting stops the start with one line.", _OURS),
    (
        "cli.child-dies",
        "linkspan run fails if a session server or worker dies, not if its trace backend does.",
        _OURS,
    ),
    (
        "cli.run-traces",
        "linkspan run keeps and shows its own traces, unless OTEL_* variables send them elsewhere.",
        _OURS,
    ),
    (
        "cli.cores",
        "Several session servers and workers on one machine serve the same sessions on one port.",
        _OURS,
    ),
    ("cli.stops-clean", "SIGINT and SIGTERM end all processes and exit with 0.", _OURS),
    # gRPC
    ("grpc.reflection", "The server lists and describes its services.", _OURS),
    ("grpc.health", "The server tells its health.", _OURS),
    ("grpc.init-idempotent", "Init of the same id and principal gives the same session.", _OURS),
    ("grpc.foreign-principal", "Another principal's session is as unknown as none.", _OURS),
    ("grpc.invalid", "A field out of its limits gets INVALID_ARGUMENT and an ErrorInfo.", _OURS),
    ("grpc.list", "ListSessions pages through all sessions, oldest first.", _OURS),
    # Traces
    ("trace.one", "Every request is exactly one trace with one root and no orphan.", _OURS),
    ("trace.parent", "init and handleRequest are children of their mcp.request.", _OURS),
    ("trace.header", "The client's traceparent header is the parent of mcp.request.", _W3C),
    ("trace.meta", "params._meta.traceparent is the parent where no header is nearer.", _SEP_414),
    (
        "trace.two-contexts",
        "If header and _meta name two traces, the header becomes a link.",
        _SEP_414,
    ),
    (
        "trace.tool-nests",
        "The tool's span nests below handleRequest, whatever _meta says.",
        _SEP_414,
    ),
    ("trace.concurrent", "Concurrent requests never share a trace.", _OURS),
    ("trace.refused", "A refused request is a span too.", _OURS),
    (
        "trace.malformed",
        "A malformed traceparent is ignored, never an error.",
        f"{_W3C}#traceparent-header",
    ),
    ("trace.no-secrets", "No credential and no unlisted header value enters a span.", _OURS),
    ("trace.grpcurl", "A traceparent given to grpcurl is found on the exported span.", _W3C),
    (
        "session.drain",
        "A session server that stops lets calls end in time and answers for the others.",
        _OURS,
    ),
    (
        "process.ends",
        "A service that is told to stop ends in bounded time, whatever it runs.",
        _OURS,
    ),
    (
        "worker.drain",
        "A worker that stops answers what it can in time, and tells the others what became of them.",
        _OURS,
    ),
    (
        "modern.listen",
        "A subscription lasts as long as a listening stream may, and ends cleanly at a drain.",
        _MODERN,
    ),
    ("store.private", "The session store is readable by its owner alone.", _OURS),
    (
        "trace.kinds",
        "Server requests, batches, listening, resuming, cancelling, ending, tasks: each one trace.",
        _OURS,
    ),
    (
        "trace.sessions",
        "A trace says how its session came into memory, or why not; a round that did nothing is none.",
        "docs/tracing.md",
    ),
    (
        "trace.trees",
        "The trace of each kind of request, and of each kind of trouble, is as its picture has it.",
        "docs/traces-of-requests.md",
    ),
    (
        "http.slow-body",
        "A body that does not arrive, or drips, gets 408, and its connection is closed.",
        f"{_HTTP}#section-15.5.9",
    ),
    # The trace backend
    (
        "traces.intake",
        "OTLP over gRPC and HTTP, as protobuf and as JSON, leaves the same trace.",
        _TRACES,
    ),
    (
        "traces.partial",
        "A span that cannot be kept is counted in the answer, and the others are kept.",
        _TRACES,
    ),
    (
        "traces.busy",
        "Senders are told to come again while too much waits, or the store fails.",
        _TRACES,
    ),
    (
        "traces.bounds",
        "The file is bounded in size and age, a trace in spans; the oldest traces go.",
        _TRACES,
    ),
    ("traces.durable", "A span whose sender had its answer survives a kill.", _TRACES),
    (
        "traces.search",
        "Traces are found by id, session, method, tool, service, status and duration.",
        _TRACES,
    ),
    ("traces.live", "Lists and `tail` show traces as they come.", _TRACES),
    (
        "traces.waterfall",
        "A real call is found on the page, and its waterfall is nested as its spans are.",
        _TRACES,
    ),
    (
        "traces.gaps",
        "Time between processes is named by who saw it: network, queue or neither.",
        _TRACES,
    ),
    (
        "traces.critical-path",
        "The critical path is what was waited for at each moment of the root, once.",
        _TRACES,
    ),
    (
        "traces.stitch",
        "A trace that does not stitch says so on the page and in a terminal, and which edge.",
        _TRACES,
    ),
    ("traces.open", "A start marker stands for its span until that comes.", _TRACES),
    ("traces.links", "Links lead to the span that they name, and back.", _TRACES),
    ("traces.json", "A trace is copied as OTLP/JSON, as it came.", _TRACES),
    (
        "traces.sessions",
        "Sessions are listed with their numbers, the last active first; each opens its requests.",
        _TRACES,
    ),
    ("traces.keyboard", "The page is walked by keyboard.", _TRACES),
    ("traces.looks", "The page reads well in light, in the dark and on a phone.", _TRACES),
    (
        "traces.many",
        "20,000 spans in a list and 2,000 in a trace are drawn only where they are in sight.",
        _TRACES,
    ),
    (
        "traces.terminal",
        "`linkspan traces list`, `show` and `tail` tell the same in a terminal.",
        _TRACES,
    ),
    (
        "traces.private",
        "Only this machine reads traces; pages of others and text in spans get nowhere.",
        _TRACES,
    ),
    # The official suites
    (
        "conformance",
        "Every check of the official conformance suites passes, for 2025 and 2026-07-28.",
        _CONFORMANCE,
    ),
    (
        "conformance.two-workers",
        "The suites pass also where requests of a session land on different workers.",
        _OURS,
    ),
    # requestState
    (
        "modern.request-state",
        "requestState that was changed is refused; servers that share a key accept each other's.",
        f"{_SPEC_2026}/patterns/multi-round-trip",
    ),
    (
        "modern.param-headers",
        "Mcp-Param headers that disagree with the arguments get 400 and -32020.",
        _MODERN,
    ),
    (
        "modern.routing-key",
        "A configured Mcp-Param header is the routing key towards session servers.",
        _OURS,
    ),
    # Tasks
    (
        "tasks.created",
        "A tool that runs as a task is answered with a task that is on record and can be polled.",
        _TASKS,
    ),
    ("tasks.cancel", "tasks/cancel stops the tool; a second one changes nothing.", _TASKS),
    (
        "tasks.input",
        "A task asks what its client declared, and goes on once all is answered.",
        _TASKS,
    ),
    (
        "tasks.stray-answers",
        "An answer to nothing is ignored, the first counts, a malformed one gets -32602.",
        _TASKS,
    ),
    (
        "tasks.unknown",
        "A task that is unknown, expired or another principal's gets -32602.",
        _TASKS,
    ),
    ("tasks.headers", "Mcp-Name of tasks/* must be the task, else 400 and -32020.", _TASKS),
    (
        "tasks.capability",
        "A client that did not declare the extension gets -32021 where it is needed.",
        _TASKS,
    ),
    (
        "tasks.plain",
        "A client that takes no tasks gets a plain call where the tool allows it.",
        _TASKS,
    ),
    (
        "tasks.outlives-request",
        "Closing the response ends a tool that is no task yet, and no task.",
        _TASKS,
    ),
    ("tasks.bounds", "The tasks of a principal and the size of results are bounded.", _TASKS_PAGE),
    (
        "tasks.any-process",
        "A task is polled, answered and cancelled through any session server of the store.",
        _TASKS_PAGE,
    ),
    (
        "tasks.survives",
        "A task on record survives its process; one that was running is failed.",
        _TASKS_PAGE,
    ),
    (
        "tasks.trace",
        "A task's work nests below the request that began it.",
        _TASKS_PAGE,
    ),
    # Sessions that outlive processes
    (
        "session.survives-kill",
        "After kill -9 of its session server a session is served by another one as it was.",
        _OPERATING,
    ),
    (
        "session.restart",
        "After a restart of the only session server its sessions are as they were.",
        _OPERATING,
    ),
    (
        "session.one-owner",
        "No session is owned twice: an older owner's commits are refused.",
        _OPERATING,
    ),
    (
        "session.run-once",
        "A request that may have begun runs again only if that is harmless; else one error.",
        _OPERATING,
    ),
    (
        "session.result-again",
        "A result that is on record is returned again and not made again.",
        _OPERATING,
    ),
    (
        "session.stream-goes-on",
        "A client's stream goes on through another session server when its own dies.",
        _OPERATING,
    ),
    (
        "session.redirect",
        "Workers that disagree about a session's owner serve it all the same.",
        _OPERATING,
    ),
    ("session.network-cut", "A cut network costs one clear error at most.", _OPERATING),
    ("session.rolling", "A rolling restart under load shows no error to a client.", _OPERATING),
    ("session.drain", "A session server that ends gives its sessions back.", _OPERATING),
    ("session.sleep", "An idle session leaves memory, and wakes as it was.", _OPERATING),
    (
        "session.expiry",
        "A session that is unused for its time expires, and is told so.",
        _OPERATING,
    ),
    (
        "session.lifetime",
        "A session whose lifetime is over expires, however it is used; what runs then may end.",
        _LIMITS,
    ),
    (
        "session.reasons",
        "Unknown, ended and expired are told apart, by the session's own client only.",
        _SESSIONS,
    ),
    (
        "session.limits",
        "Over each limit there is a clear refusal; others are unharmed.",
        _OPERATING,
    ),
    (
        "session.balance",
        "A server with far more than its share lets idle sessions move.",
        _OPERATING,
    ),
    ("session.clocks", "Clocks that jump or disagree take no session away.", _OPERATING),
    ("store.suite", "Every store passes the same test suite.", _OPERATING),
    (
        "store.away",
        "A store that is away gives 503 and no readiness; serving resumes by itself.",
        _OPERATING,
    ),
    ("store.disk-full", "A full disk refuses writes and harms nothing.", _OPERATING),
    ("store.versions", "An older record is read, one of a newer version is refused.", _OPERATING),
    (
        "storage.atomic",
        "What a call writes is on record before its answer, or not at all.",
        _STORAGE,
    ),
    ("storage.serialised", "Transactions of a session run one after another.", _STORAGE),
    (
        "limits.last-answer",
        "A client that takes nothing of its last answer is cut off, as one of any answer before.",
        _LIMITS,
    ),
    (
        "limits.connections",
        "A connection too many gets 503 and is closed; the others are served.",
        _LIMITS,
    ),
    (
        "limits.connections-per-address",
        "A connection over those that its address may hold gets 503 and is closed; others are served.",
        _LIMITS,
    ),
    (
        "limits.in-flight",
        "A request over those that the worker may answer at once gets 503 and Retry-After.",
        _LIMITS,
    ),
    (
        "limits.caller-in-flight",
        "A request over those that its caller may have under way gets 429 and Retry-After.",
        "https://www.rfc-editor.org/rfc/rfc6585#section-4",
    ),
    (
        "limits.caller-rate",
        "A caller that comes too often gets 429, and Retry-After says when it may come again.",
        "https://www.rfc-editor.org/rfc/rfc6585#section-4",
    ),
    (
        "limits.overload",
        "A process that is behind with many requests turns a share away with 503 and Retry-After.",
        _LIMITS,
    ),
    ("storage.limits", "Keys, values and the whole are bounded, with a clear error.", _STORAGE),
    ("cli.sessions-list", "All pages are walked, as a table or JSON, filtered.", _OPERATING),
    (
        "cli.sessions-end",
        "end asks first, follows the owner, counts what became of each.",
        _OPERATING,
    ),
    # Who may call
    (
        "auth.challenge",
        "A request without a credential gets 401 and a challenge that names the metadata.",
        f"{_RFC}/rfc6750#section-3",
    ),
    (
        "auth.metadata",
        "Protected resource metadata are served without the resource's path, and with it.",
        f"{_RFC}/rfc9728#section-3.1",
    ),
    (
        "auth.tokens",
        "Each kind of bad token has its status, its error and its reason in the span.",
        f"{_RFC}/rfc6750#section-3.1",
    ),
    (
        "auth.audience",
        "A token that was issued for another resource gets 401.",
        f"{_RFC}/rfc8707#section-2",
    ),
    (
        "auth.algorithms",
        "No token is verified with an algorithm or a kind of key that is not allowed.",
        f"{_RFC}/rfc8725#section-3.1",
    ),
    ("auth.keys", "However many ask, an issuer's keys are fetched once.", _AUTH_PAGE),
    (
        "auth.rotation",
        "An unknown key has the keys fetched anew, no more often than the interval allows.",
        _AUTH_PAGE,
    ),
    (
        "auth.issuer-away",
        "An issuer that is away is 503 with Retry-After, and costs nobody whose key is known.",
        _AUTH_PAGE,
    ),
    (
        "auth.fetch-bounds",
        "What is fetched is bounded in time and size, and no redirect is followed.",
        _AUTH_PAGE,
    ),
    (
        "auth.remembered",
        "A verified token is remembered for a minute at most, and never past its end.",
        _AUTH_PAGE,
    ),
    (
        "auth.opaque",
        "A token that is no JWT is worth what the issuer says of it.",
        f"{_RFC}/rfc7662#section-2.2",
    ),
    ("auth.api-keys", "API keys are kept as digests and can be taken back.", _AUTH_PAGE),
    (
        "auth.scopes",
        "A method or tool that needs more scopes gets 403 and a challenge that names them.",
        _AUTH,
    ),
    ("auth.check", "A live check locks a member out; without its answer it is 503.", _AUTH_PAGE),
    (
        "auth.owner",
        "A session of another principal is as unknown as none, and is not touched.",
        _SESSIONS,
    ),
    ("auth.fixation", "A client cannot choose the id of a session.", _SESSIONS),
    (
        "auth.exposed",
        "Without authentication a worker serves on loopback only, unless told what that risks.",
        _AUTH_PAGE,
    ),
    (
        "auth.span",
        "A request that is not let in is a span too, and no token is in any.",
        _AUTH_PAGE,
    ),
    ("auth.flow", "The MCP client's own OAuth logs in through the worker, and steps up.", _AUTH),
    ("cli.sessions-errors", "A failed call is one line that says what to do.", _OPERATING),
    # Tracing
    (
        "trace.sampling",
        "Sampling is parent-based; whether a caller's flag is heeded is a setting of the worker.",
        "https://opentelemetry.io/docs/specs/otel/trace/sdk/#parentbased",
    ),
    (
        "trace.public-endpoint",
        "At a public endpoint a request is a trace of its own, which links to the caller's.",
        "https://opentelemetry.io/docs/specs/otel/overview/#links-between-spans",
    ),
    (
        "trace.baggage",
        "A caller's baggage reaches the tool.",
        "https://www.w3.org/TR/baggage/",
    ),
    (
        "trace.capture",
        "Headers and metadata become attributes where they are named, and no others.",
        "https://opentelemetry.io/docs/specs/semconv/rpc/rpc-spans/",
    ),
    (
        "trace.response",
        "Answers say which span they are: HTTP in traceresponse, plain gRPC in trailing metadata.",
        "https://w3c.github.io/trace-context/#traceresponse-header",
    ),
    (
        "trace.contrib",
        "A request is one trace on the published gRPC interceptors too; no call is traced twice.",
        _TRACING,
    ),
    (
        "tracing.harmless",
        "With exporters down, slow or refusing, processors raising, odd attributes: serving goes on.",
        _TRACING,
    ),
    (
        "tracing.losses",
        "Spans that are lost are counted by reason, and logged seldom.",
        _TRACING,
    ),
    (
        "tracing.bounded",
        "What spans and queues hold is bounded; what is over the bound is dropped and counted.",
        "https://opentelemetry.io/docs/specs/otel/trace/sdk/#span-limits",
    ),
    (
        "tracing.resource",
        "Spans say service.name, service.version and service.instance.id.",
        "https://opentelemetry.io/docs/specs/semconv/resource/#service",
    ),
    (
        "tracing.start-marker",
        "What is open for a second is told of by a marker: a kill leaves one tree of what was long.",
        _TRACING,
    ),
    # Propagation, lean tracing, tunnels
    (
        "propagation.traceparent",
        "A traceparent is read and written by its grammar; what is not valid is no parent.",
        f"{_W3C}#traceparent-header-field-values",
    ),
    (
        "propagation.versions",
        "A traceparent of a later version is read by its first four fields.",
        f"{_W3C}#versioning-of-traceparent",
    ),
    (
        "propagation.flags",
        "The flags sampled and random are passed on, unknown ones are not.",
        f"{_W3C}#trace-flags",
    ),
    (
        "propagation.one-traceparent",
        "Exactly one traceparent goes out; several HTTP headers of that name are no parent.",
        f"{_W3C}#traceparent-header",
    ),
    (
        "propagation.tracestate",
        "A tracestate has at most 32 members, each once; a broken one costs itself, not the trace.",
        f"{_W3C}#tracestate-header",
    ),
    (
        "propagation.baggage",
        "Baggage is read and written by its grammar, percent-encoded and within its limits.",
        "https://www.w3.org/TR/baggage/#header-content",
    ),
    (
        "propagation.room",
        "Metadata stay within what gRPC takes: tracestate gives way, then baggage, never traceparent.",
        _PROPAGATION,
    ),
    (
        "propagation.calls",
        "An RPC goes as on bare gRPC, in every kind, ending and API, asyncio and sync.",
        _PROPAGATION,
    ),
    (
        "propagation.rpc-spans",
        "A SERVER span has the name, attributes, status and end that the conventions ask for.",
        "https://opentelemetry.io/docs/specs/semconv/rpc/grpc/",
    ),
    (
        "propagation.rpc-metrics",
        "rpc.client.call.duration and rpc.server.call.duration are measured where that is asked for.",
        "https://opentelemetry.io/docs/specs/semconv/rpc/rpc-metrics/",
    ),
    (
        "propagation.filter",
        "A filter leaves out spans and never propagation.",
        _PROPAGATION,
    ),
    (
        "propagation.guard",
        "A trace that is not whole is drawn, with the broken edge named.",
        _PROPAGATION,
    ),
    (
        "tracing.same-as-sdk",
        "Lean tracing exports what OpenTelemetry's SDK exports.",
        "tracing/README.md",
    ),
    (
        "tracing.variables",
        "OTEL_* variables mean what OpenTelemetry says; one that cannot be honoured stops the start.",
        "https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/",
    ),
    (
        "tracing.retry",
        "A receiver that cannot take spans now is asked again, one that refuses is not.",
        "https://opentelemetry.io/docs/specs/otlp/#failures",
    ),
    (
        "tunnel.parity",
        "A call through a tunnel comes out as without.",
        _TUNNEL,
    ),
    (
        "tunnel.trace",
        "A call through a tunnel is one trace with its caller.",
        _TUNNEL,
    ),
    (
        "tunnel.rules",
        "A peer that breaks the rules of a tunnel ends it, a fault of one call ends that call.",
        _TUNNEL,
    ),
    (
        "tunnel.flow",
        "Who does not read stops its own call and no other.",
        _TUNNEL,
    ),
    (
        "tunnel.not-begun",
        "Calls that never left are told apart from those that may have run.",
        _TUNNEL,
    ),
    (
        "tunnel.endings",
        "A server that dies, hangs or drains fails or ends its calls, and its successor is found.",
        _TUNNEL,
    ),
    # between services
    (
        "tls.mutual",
        "With TLS, whoever shows no certificate of the authority is refused, on either side.",
        _BETWEEN,
    ),
    ("tls.peers", "Of those certificates, only the named ones may call.", _BETWEEN),
    ("tls.names", "The name that certificates of session servers hold can be set.", _BETWEEN),
    ("tls.old-versions", "TLS older than 1.2 is refused.", _BETWEEN),
    (
        "tls.reload",
        "New certificates are taken while calls run; a bad file replaces nothing.",
        _BETWEEN,
    ),
    ("tls.expiry", "The end of a certificate is warned of, and shown as a metric.", _BETWEEN),
    ("tls.diagnosis", "What is wrong about TLS is one line in the log.", _BETWEEN),
    (
        "worker.unreachable",
        "When no session server can be reached, the worker says so once, why, and when it is over.",
        _BETWEEN,
    ),
    ("tls.run", "`linkspan run` has TLS between its processes.", _BETWEEN),
    (
        "tls.settings",
        "Files that cannot be used stop the start with one line that names them.",
        _BETWEEN,
    ),
    (
        "tls.exposure",
        "A session server that others reach has TLS, or is told that it needs none.",
        _BETWEEN,
    ),
    (
        "unix.sockets",
        "Worker and session server speak over a Unix socket that only its owner may use.",
        _BETWEEN,
    ),
    (
        "unix.stale",
        "A socket that nobody listens on is replaced, another one stops the start.",
        _BETWEEN,
    ),
    (
        "admin.apart",
        "With an address for operators, reflection and the calls of operators are there alone.",
        _BETWEEN,
    ),
    ("tls.recipe", "The recipe for certificates works as printed.", _BETWEEN),
    # metrics and logs
    ("metrics.off", "Nothing is measured unless it is asked for.", _METRICS),
    (
        "metrics.prometheus",
        "What happens to a request is counted in each process it passes, for Prometheus to read.",
        _METRICS,
    ),
    ("metrics.otlp", "Metrics go over OTLP, by HTTP or gRPC, where they are asked for.", _METRICS),
    (
        "metrics.exemplars",
        "A histogram's bucket names the trace of a request that fell into it.",
        _METRICS,
    ),
    ("metrics.bounded", "No caller can make up a time series.", _METRICS),
    ("metrics.refusals", "A refused request is counted by its reason.", _METRICS),
    ("metrics.session-duration", "A session that is ended leaves its duration.", _METRICS),
    ("metrics.documented", "The documentation lists each metric as it is declared.", _METRICS),
    ("metrics.loopback", "A page of another site cannot read metrics on loopback.", _METRICS),
    (
        "metrics.harmless",
        "A receiver of metrics or logs that is gone, refuses or hangs stops no request, and no end.",
        _METRICS,
    ),
    ("telemetry.losses", "Spans and log records that are lost are counted by reason.", _METRICS),
    (
        "logs.json",
        "A log line is JSON unless it is for a terminal, or text is asked for.",
        _METRICS,
    ),
    ("logs.subject", "A log line names trace, span, session and method of its request.", _METRICS),
    (
        "logs.secrets",
        "No session id and no header is in any log, nor what may be secret in a resource's URI.",
        _METRICS,
    ),
    ("logs.otlp", "Logs go over OTLP with their trace where they are asked for.", _METRICS),
    # attacks
    (
        "attacks.smuggling",
        "What two servers could read differently is refused, and its connection ends.",
        f"{_RFC}/rfc9112#section-11.2",
    ),
    (
        "attacks.host",
        "A request is for one host: a second Host is refused, and a target in absolute form decides.",
        f"{_RFC}/rfc9112#section-3.2",
    ),
    (
        "attacks.coding",
        "A request in a content coding gets 415, and is not decoded.",
        f"{_RFC}/rfc9110#section-15.5.16",
    ),
    (
        "attacks.inflation",
        "A compressed RPC is inflated no further than a message may be long.",
        _ATTACKS,
    ),
    (
        "attacks.slow-connections",
        "With thousands of connections that send a head byte by byte, others are served; those end.",
        _ATTACKS,
    ),
    (
        "attacks.guessing",
        "A guessed session id is told the same whatever it is like; a minted one has 192 random bits.",
        _SESSIONS,
    ),
    ("attacks.event-ids", "An event id opens nothing but what its session may read.", _RESUME),
    (
        "attacks.redirects",
        "A worker follows a redirect to an address of session servers, and to nothing else.",
        _ATTACKS,
    ),
    (
        "attacks.request-state",
        "State that was altered, made for another request, or sealed by another server is refused.",
        _MODERN,
    ),
    (
        "attacks.injection",
        "What callers and tools say stays a value in headers, metadata, events, logs and spans.",
        _ATTACKS,
    ),
    (
        "attacks.header-names",
        "What a client calls its headers takes a bounded place in spans and in memory.",
        _ATTACKS,
    ),
    (
        "fuzz.http",
        "Whatever bytes come, answers are well-formed, none is a 5xx, and the next is served.",
        _ATTACKS,
    ),
    ("fuzz.messages", "So with whatever JSON, in and out of sessions.", _ATTACKS),
    ("fuzz.headers", "So with whatever trace context, event ids and MCP headers.", _ATTACKS),
    (
        "fuzz.rpcs",
        "Whatever bytes, metadata and frames come over gRPC get a status that tells no internals.",
        _ATTACKS,
    ),
    # Supply
    ("supply.audit", "A known vulnerability of a dependency fails the build.", "CONTRIBUTING.md"),
    (
        "supply.sbom",
        "The bill of materials lists each run dependency with its digests.",
        "README.md",
    ),
    ("supply.locks", "What is installed is pinned by digest, without an address.", "SECURITY.md"),
    ("deploy.confined", "The containers' layout runs as nobody on a read-only root.", _DEPLOY),
    (
        "deploy.starts",
        "What deploy/ runs starts, by its own recipe for certificates, and answers over TLS.",
        _DEPLOY,
    ),
    ("deploy.files", "The files of deploy/ name flags that exist, and confine what runs.", _DEPLOY),
    # The audit trail
    (
        "audit.flow",
        "The trail tells who created, used, ended which session and called which tool, how, and when.",
        _AUDIT,
    ),
    (
        "audit.refusals",
        "It tells of tries that were refused: no or a bad credential, a scope, a session of another.",
        _AUDIT,
    ),
    (
        "audit.limits",
        "It tells of callers over their limits and of operators at their own address, not of overload.",
        _AUDIT,
    ),
    (
        "audit.peers",
        "It tells of who was refused by certificate or address, and operators by their certificates.",
        _AUDIT,
    ),
    ("audit.expiry", "It tells of sessions that expired, and whose they were.", _AUDIT),
    (
        "audit.secrets",
        "The trail holds no session id and no credential; of content excerpts, only if told to.",
        _AUDIT,
    ),
    (
        "audit.lines",
        "Whatever callers are called, an event is one line of printable ASCII.",
        _AUDIT,
    ),
    ("audit.rotation", "A file that is moved away is made anew, and no event is lost.", _AUDIT),
    (
        "audit.trouble",
        "A trail that cannot be written stops the start; later events wait, and losses are told.",
        _AUDIT,
    ),
    ("audit.flood", "A stranger cannot choose how fast the trail grows.", _AUDIT),
    ("audit.otlp", "The same events go over OTLP where that is asked for.", _AUDIT),
    ("audit.documented", "The documentation lists events and fields as they are declared.", _AUDIT),
)

REQUIREMENTS: Final = {row[0]: Requirement(*row) for row in _ROWS}


def requirement(*ids: str) -> pytest.MarkDecorator:
    """Mark a test as proof of the claims with these ids."""
    for each in ids:
        if each not in REQUIREMENTS:
            raise KeyError(f"{each} is not a requirement; add it to tests/requirements.py")
    return pytest.mark.requirement(*ids)
