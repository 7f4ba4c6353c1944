"""Spans that have ended, on their way out.

Owns the queue, the thread that empties it, and its end. Above lies the provider; below lie
``encoding``, ``sending`` and ``losses``.

Invariants: giving a span takes no lock and never waits; a span that finds no room is dropped and
counted; the thread alone encodes and sends, in slices, between which other threads run; whatever the
receiver does, ``shutdown`` returns in time.
"""

import threading
import time
from collections import deque
from typing import Final

from opentelemetry import context as contexts
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from linkspan_tracing.encoding import SpanEncoder, encode_resource, encode_scope
from linkspan_tracing.losses import Losses, Reason
from linkspan_tracing.sending import Sender, send_patiently
from linkspan_tracing.settings import Batching
from linkspan_tracing.span import LeanSpan
from linkspan_tracing.wire import field, size

_SLICE_SPANS: Final = 32
"""How many spans are encoded before other threads are let run, some 150 µs."""

_REQUEST_BYTES: Final = 3 << 20
"""From how many bytes on a request is sent: gRPC takes 4 MiB where nothing else was agreed."""

_LAST_SECONDS: Final = 0.2
"""What is left of a shutdown's time for a thread whose call was cut off to say so."""

_PLAIN_KEY: Final = "suppress_instrumentation"
"""With this set, OpenTelemetry's instrumentations leave a call alone; else each export is traced."""


class BatchExporter:
    """Sends spans in batches from a thread of its own.

    Args:
        sender: the way to the receiver; closed by ``shutdown``.
        resource: what all spans are of.
        batching: when to send, and how much may wait.
        timeout_seconds: how long one request may take, with everything tried again.
        losses: where spans that are lost are counted.

    A forked child has no such thread: its spans fill the queue and are counted as lost. Fork first.
    """

    def __init__(
        self,
        sender: Sender,
        resource: Resource,
        batching: Batching,
        timeout_seconds: float,
        losses: Losses,
    ) -> None:
        self._sender = sender
        self._resource = encode_resource(resource)
        self._schema = field(b"\x1a", resource.schema_url) if resource.schema_url else b""
        self._batching = batching
        self._timeout_seconds = min(timeout_seconds, batching.timeout_seconds)
        self._losses = losses
        self._encoder = SpanEncoder()
        self._scopes: dict[InstrumentationScope, tuple[bytes, bytes]] = {}
        self._queue: deque[LeanSpan] = deque()
        self._room = batching.queue_spans
        self._wake_from = batching.batch_spans - 1
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._answers = threading.Condition()
        self._asked = 0
        self._answered = 0
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="linkspan-tracing", daemon=True)
        self._thread.start()

    # --- any thread -------------------------------------------------------------------------

    def add(self, span: LeanSpan) -> None:
        """Take a span that has ended, or count it as lost."""
        waiting = len(self._queue)
        if waiting >= self._room:
            self._losses.count("shutdown" if self._closing.is_set() else "queue_full")
            return
        self._queue.append(span)
        if waiting >= self._wake_from and not self._wake.is_set():
            self._wake.set()

    def send_soon(self) -> None:
        """Have what has ended sent now and not when it is time. Returns at once."""
        with self._answers:
            self._asked += 1
        self._wake.set()

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until all that had ended before is sent, or lost and counted.

        Args:
            timeout_seconds: the longest wait.

        Returns:
            Whether that was in time.
        """
        with self._answers:
            self._asked += 1
            mine = self._asked
            self._wake.set()
            return self._answers.wait_for(
                lambda: self._answered >= mine or self._ended, max(0.0, timeout_seconds)
            )

    def shutdown(self, timeout_seconds: float) -> bool:
        """Send what is left, each once, and stop. A span that ends later is lost and counted.

        Args:
            timeout_seconds: the longest that this takes, give or take a tenth of a second.

        Returns:
            Whether the thread came to its end by itself: what was left was sent, or refused.
        """
        begin = time.monotonic()
        self._deadline = begin + max(0.0, timeout_seconds - _LAST_SECONDS)
        self._closing.set()
        self._room = 0
        self._wake.set()
        self._thread.join(max(0.0, self._deadline - begin))
        in_time = not self._thread.is_alive()
        self._sender.close()
        self._thread.join(_LAST_SECONDS)
        left = self._take(len(self._queue))
        if left:
            self._losses.count("shutdown", len(left))
        self._losses.report(now=True)
        return in_time

    # --- the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        contexts.attach(contexts.set_value(_PLAIN_KEY, True))
        try:
            due = time.monotonic() + self._batching.delay_seconds
            while True:
                self._wake.wait(max(0.0, due - time.monotonic()))
                self._wake.clear()
                closing = self._closing.is_set()
                with self._answers:
                    asked = self._asked
                everything = closing or asked != self._answered or time.monotonic() >= due
                self._send_waiting(everything=everything)
                if everything:
                    due = time.monotonic() + self._batching.delay_seconds
                with self._answers:
                    self._answered = asked
                    self._answers.notify_all()
                self._losses.report()
                if closing:
                    return
        finally:
            with self._answers:
                self._ended = True
                self._answers.notify_all()

    def _send_waiting(self, *, everything: bool) -> None:
        """Send what waits now: all of it, or as many whole batches as there are."""
        waiting = len(self._queue)
        least = 1 if everything else self._batching.batch_spans
        while waiting >= least and time.monotonic() < self._deadline:
            spans = self._take(min(waiting, self._batching.batch_spans))
            if not spans:
                return
            waiting -= len(spans)
            try:
                self._send(spans)
            except Exception as error:  # noqa: BLE001 - without this thread all spans would be lost
                self._lost("export_failed", len(spans), f"{type(error).__name__}: {error}")

    def _take(self, most: int) -> list[LeanSpan]:
        spans: list[LeanSpan] = []
        while len(spans) < most and self._queue:
            spans.append(self._queue.popleft())
        return spans

    def _send(self, spans: list[LeanSpan]) -> None:
        """Encode and send a batch, in more than one request where it is large."""
        by_scope: dict[InstrumentationScope, list[bytes]] = {}
        count = total = 0
        for number, span in enumerate(spans, 1):
            encoded = self._encode(span)
            if encoded is not None:
                by_scope.setdefault(span.origin.scope, []).append(encoded)
                count += 1
                total += len(encoded)
            if total >= _REQUEST_BYTES:
                self._send_request(by_scope, count)
                by_scope = {}
                count = total = 0
            if number % _SLICE_SPANS == 0:
                # Lets a thread that waits for the interpreter have it.
                time.sleep(0)
        if count:
            self._send_request(by_scope, count)

    def _encode(self, span: LeanSpan) -> bytes | None:
        try:
            return self._encoder.span(span)
        except Exception as error:  # noqa: BLE001 - anything may have been recorded
            self._lost("encoding_failed", 1, f"{type(error).__name__}: {error}")
            return None

    def _send_request(self, by_scope: dict[InstrumentationScope, list[bytes]], count: int) -> None:
        remaining_seconds = self._deadline - time.monotonic()
        answer = send_patiently(
            self._sender,
            self._request(by_scope),
            timeout_seconds=max(0.001, min(self._timeout_seconds, remaining_seconds)),
            hurry=self._closing,
        )
        if not answer.taken:
            self._lost("export_failed", count, answer.words)
        elif answer.rejected > 0:
            self._lost("rejected", answer.rejected, answer.words)

    def _lost(self, reason: Reason, spans: int, why: str) -> None:
        self._losses.count(reason, spans, why)
        self._losses.report()

    def _request(self, by_scope: dict[InstrumentationScope, list[bytes]]) -> bytes:
        """Put encoded spans into an ``ExportTraceServiceRequest``."""
        parts = [self._resource]
        for scope, spans in by_scope.items():
            head, schema = self._scope(scope)
            body = [head]
            for span in spans:
                body += (b"\x12", size(len(span)), span)
            body.append(schema)
            parts.append(field(b"\x12", b"".join(body)))
        parts.append(self._schema)
        return field(b"\x0a", b"".join(parts))

    def _scope(self, scope: InstrumentationScope) -> tuple[bytes, bytes]:
        """Return a scope, and the address of its schema, encoded."""
        known = self._scopes.get(scope)
        if known is None:
            schema = field(b"\x1a", scope.schema_url) if scope.schema_url else b""
            known = self._scopes[scope] = (encode_scope(scope), schema)
        return known
