"""Sending one request until it is taken, refused, or out of time.

Owns when to try again. Above lies the exporter's thread; below lie the two ways to send,
``over_grpc`` and ``over_http``.

Source: https://opentelemetry.io/docs/specs/otlp/#failures and #failures-1.
"""

import random
import threading
import time
from dataclasses import dataclass
from typing import Final, Protocol

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

_FIRST_PAUSE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt.

    Attributes:
        taken: whether the receiver took the request.
        again: whether the same request may be sent again, where it was not taken.
        pause_seconds: how long the receiver asks to wait before that; None if it does not say.
        rejected: how many spans of a request that was taken the receiver did not take.
        words: what it said, for the log.
    """

    taken: bool
    again: bool = False
    pause_seconds: float | None = None
    rejected: int = 0
    words: str = ""


class Sender(Protocol):
    """One way to a receiver. ``send`` is called by one thread at a time; ``close`` by any."""

    def send(self, request: bytes, timeout_seconds: float) -> Answer:
        """Send a request in protobuf, once, in at most about this time. Never raises."""
        ...

    def close(self) -> None:
        """Close it. Ends what is being sent; what is sent later is not taken."""
        ...


def taken(response: bytes) -> Answer:
    """Return the answer of a receiver that took a request, as its response in protobuf says."""
    if not response:
        return Answer(taken=True)
    try:
        partial = ExportTraceServiceResponse.FromString(response).partial_success
    except DecodeError:  # it took them, and says so in its own words
        return Answer(taken=True)
    return Answer(taken=True, rejected=partial.rejected_spans, words=partial.error_message)


def send_patiently(
    sender: Sender, request: bytes, *, timeout_seconds: float, hurry: threading.Event
) -> Answer:
    """Send a request, and again while that may help.

    Args:
        sender: the way.
        request: in protobuf.
        timeout_seconds: the longest that this may take, pauses included.
        hurry: once it is set nothing is sent again.

    Returns:
        The last answer.
    """
    deadline = time.monotonic() + timeout_seconds
    pause_seconds = _FIRST_PAUSE_SECONDS
    while True:
        answer = sender.send(request, max(0.001, deadline - time.monotonic()))
        if answer.taken or not answer.again:
            return answer
        wait_seconds = answer.pause_seconds
        if wait_seconds is None:
            wait_seconds = pause_seconds * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
            pause_seconds *= 2
        if wait_seconds >= deadline - time.monotonic() or hurry.wait(wait_seconds):
            return answer
