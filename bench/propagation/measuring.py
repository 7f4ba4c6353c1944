"""What one slice of calls takes, with a span to carry.

What is measured is the processor time of this process, in which client and server both are: on a
machine that has other things to do, it is steadier than the clock.
"""

import asyncio
import gc
import secrets
import time
from collections.abc import Awaitable, Callable

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

MESSAGE = b"x" * 100


def below_a_span() -> None:
    """Make a sampled span current, so that there is something to carry."""
    span_context = SpanContext(
        secrets.randbits(128) | 1,
        secrets.randbits(64) | 1,
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
    otel_context.attach(trace.set_span_in_context(NonRecordingSpan(span_context)))


async def aio_slice(call: Callable[[bytes], Awaitable[bytes]], calls: int, at_once: int) -> float:
    """Make calls, so many at once, and return the processor time of one in microseconds."""
    left = iter(range(calls))

    async def caller() -> None:
        for _ in left:
            if await call(MESSAGE) != MESSAGE:
                raise AssertionError("a wrong answer")

    gc.collect()
    before = time.process_time()
    await asyncio.gather(*(caller() for _ in range(at_once)))
    return (time.process_time() - before) / calls * 1e6
