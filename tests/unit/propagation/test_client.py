"""Metadata on their way into a call: with the context in them, or as they were."""

from typing import Any

import grpc
import pytest
from opentelemetry.trace import INVALID_SPAN_CONTEXT, NonRecordingSpan, SpanContext, use_span

from linkspan_propagation.client import carried, client_interceptors


class BrokenSpan(NonRecordingSpan):
    """A span that cannot tell its ids."""

    def get_span_context(self) -> SpanContext:
        raise RuntimeError("a broken span")


@pytest.mark.parametrize("metadata", [None, (("k", "v"),), grpc.aio.Metadata(("k", "v"))])
def test_a_broken_span_leaves_metadata_as_they_are(metadata: Any) -> None:
    with use_span(BrokenSpan(INVALID_SPAN_CONTEXT)):
        assert carried(metadata) is metadata


@pytest.mark.parametrize("metadata", [(("k",),), 5, {"k": "v"}, [None]])
def test_what_are_no_metadata_stay_what_they_are(metadata: Any) -> None:
    with use_span(NonRecordingSpan(SpanContext(1, 2, is_remote=False))):
        assert carried(metadata) is metadata


def test_an_iterator_that_was_read_comes_back_readable() -> None:
    metadata: Any = iter([("k",), ("l",)])
    with use_span(NonRecordingSpan(SpanContext(1, 2, is_remote=False))):
        again: Any = carried(metadata)
    assert tuple(again) == (("k",), ("l",))


def test_there_is_one_interceptor_for_each_kind_of_call() -> None:
    kinds = (
        grpc.aio.UnaryUnaryClientInterceptor,
        grpc.aio.UnaryStreamClientInterceptor,
        grpc.aio.StreamUnaryClientInterceptor,
        grpc.aio.StreamStreamClientInterceptor,
    )
    interceptors = client_interceptors()
    assert [sum(isinstance(each, kind) for each in interceptors) for kind in kinds] == [1, 1, 1, 1]
