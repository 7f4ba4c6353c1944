"""Both providers over the same receiver, with the same ids."""

import itertools
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits as SdkLimits
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler

from linkspan_tracing import Batching, Destination, LeanTracerProvider, SpanLimits
from linkspan_tracing.over_http import HttpSender

Provider: TypeAlias = LeanTracerProvider | TracerProvider

RESOURCE = Resource({"service.name": "scenario", "k": (1, 2)}, "https://example.com/resource")
PROMPT = {"OTEL_BSP_SCHEDULE_DELAY": "20"}


class Counting(IdGenerator):
    """Ids 1, 2, 3 and so on."""

    def __init__(self) -> None:
        self.numbers = itertools.count(1)

    def generate_span_id(self) -> int:
        return next(self.numbers)

    def generate_trace_id(self) -> int:
        return next(self.numbers)

    def is_trace_id_random(self) -> bool:
        return True


@contextmanager
def sdk_provider(
    url: str, *, most: int = 128, length: int | None = None, sampler: Sampler | None = None
) -> Generator[TracerProvider]:
    limits = SdkLimits(
        max_attributes=most,
        max_events=most,
        max_links=most,
        max_span_attributes=most,
        max_event_attributes=most,
        max_link_attributes=most,
        max_attribute_length=length,
    )
    provider = TracerProvider(
        resource=RESOURCE,
        id_generator=Counting(),
        span_limits=limits,
        sampler=sampler,
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{url}/v1/traces")))
    yield provider
    provider.shutdown()


@contextmanager
def lean_provider(
    url: str, *, most: int = 128, length: int | None = None, sampler: Sampler | None = None
) -> Generator[LeanTracerProvider]:
    provider = LeanTracerProvider(
        RESOURCE,
        ids=Counting(),
        limits=SpanLimits(most, length, most, most, most, most, length),
        sampler=sampler,
        sender=HttpSender(Destination(endpoint=f"{url}/v1/traces")),
        batching=Batching(),
    )
    yield provider
    provider.shutdown()


def environ_of(url: str, protocol: str, **more: str) -> Mapping[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        **PROMPT,
        **more,
    }
