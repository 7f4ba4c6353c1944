"""The worker's spans heed what is set up after its modules were loaded, as under an agent."""

import subprocess
import sys

from tests.requirements import requirement
from tests.support.processes import REPOSITORY, clean_environ

SCRIPT = """
import asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())  # as opentelemetry-instrument does, before anything
from linkspan_process.telemetry import telemetry
from linkspan_worker import request_span

SILENT = trace.SpanContext(1, 2, is_remote=True)  # a caller that asks for no recording

async def main():
    async with telemetry("test", {}, trusts_remote=False):
        parent = trace.set_span_in_context(trace.NonRecordingSpan(SILENT))
        span = request_span._tracer().start_span("mcp.request", parent)
        print(span.is_recording())
        span.end()

asyncio.run(main())
"""


@requirement("trace.sampling")
def test_a_provider_that_was_there_first_is_told_not_to_trust_callers() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        env=clean_environ(),
        cwd=REPOSITORY,
        timeout=30,
        check=True,
    )
    assert done.stdout == "True\n"
