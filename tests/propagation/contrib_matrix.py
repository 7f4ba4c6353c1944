"""What opentelemetry-instrumentation-grpc changes of RPCs, by the matrix that we are held to.

Run as ``python -m tests.propagation.contrib_matrix``: each case once on bare gRPC and once with the
published interceptors on both sides; prints those that go another way, and what their spans say.
It is no test, for what it finds is another project's, and changes with its releases.
"""

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import fields
from typing import Final

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from tests.propagation.matrix_client import Case, Form, Observed, cases, remote_parent
from tests.propagation.processes import child_that_may_log

from linkspan_propagation.testing import ExportedSpan, OtlpReceiver

_CASE_SECONDS: Final = 3.0


async def go(case: Case, port: int, form: Form, provider: TracerProvider | None) -> Observed | str:
    """Return what there was to see, or how it went wrong."""
    try:
        return await asyncio.wait_for(case.run(port, form, provider), _CASE_SECONDS)
    except TimeoutError:
        return "hangs"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what happened
        return f"raises {type(error).__name__}"


def difference(bare: Observed | str, other: Observed | str) -> str:
    """Say what differs; an empty string for nothing."""
    if isinstance(bare, str) or isinstance(other, str):
        if bare == other:
            return ""
        return other if isinstance(other, str) else "differs"
    found: list[str] = []
    for each in fields(Observed):
        before, after = getattr(bare, each.name), getattr(other, each.name)
        if each.compare and before != after:
            found.append(f"{each.name}: {before!r} -> {after!r}")
    return "; ".join(found)


def measure(
    bare_port: int, env: Mapping[str, str], provider: TracerProvider
) -> dict[Case, tuple[str, int]]:
    """Return what differs in each case, and its trace.

    A case that hangs may leave a server that makes others hang: the next one has a new server.
    """
    found: dict[Case, tuple[str, int]] = {}
    left = list(cases())
    while left:
        with child_that_may_log("matrix_server.py", "contrib", env=env) as contrib:
            hung = False
            while left and not hung:
                case = left.pop(0)
                bare = asyncio.run(go(case, bare_port, "bare", None))
                before = time.monotonic()
                with remote_parent() as parent:
                    other = asyncio.run(go(case, int(contrib.ready), "contrib", provider))
                hung = time.monotonic() - before >= _CASE_SECONDS
                differs = "hangs" if hung else difference(bare, other)
                found[case] = (differs, parent.trace_id)
    return found


def said(case: Case, spans: list[ExportedSpan]) -> str:
    """Say in what the spans of a case are not what they should be."""
    wrong: list[str] = []
    server = [span for span in spans if span.kind == "SERVER"]
    if len(server) != 1:
        wrong.append(f"{len(server)} server spans")
    if sum(span.kind == "CLIENT" for span in spans) != 1:
        wrong.append("client span never ended")
    for span in server:
        expected = "ERROR" if case.error_type else "UNSET"
        if span.status_code != expected:
            wrong.append(f"server span {span.status_code} instead of {expected} for {case.code}")
        if len(span.events) != case.exceptions:
            wrong.append(f"{len(span.events)} exceptions instead of {case.exceptions}")
    return "; ".join(wrong)


def main() -> None:
    """Measure and print."""
    with OtlpReceiver() as receiver:
        provider = TracerProvider(shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=receiver.endpoint)
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=10))
        env = {**receiver.environ(), "OTEL_BSP_SCHEDULE_DELAY": "10"}
        with child_that_may_log("matrix_server.py", "bare") as bare:
            found = measure(int(bare.ready), env, provider)
        provider.shutdown()
        by_trace: dict[str, list[ExportedSpan]] = {}
        for span in receiver.spans():
            by_trace.setdefault(span.trace_id, []).append(span)
    for case, (differs, trace_id) in found.items():
        wrong = said(case, by_trace.get(f"{trace_id:032x}", []))
        if differs or wrong:
            print(f"{case.name}\n  call: {differs or 'the same'}\n  spans: {wrong or 'right'}")
    same = sum(not differs for differs, _ in found.values())
    print(f"{same} of {len(found)} calls go as on bare gRPC", file=sys.stderr)


if __name__ == "__main__":
    main()
