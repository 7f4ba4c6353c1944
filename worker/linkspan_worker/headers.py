"""Reading HTTP request headers: plain lookups and what `Accept` and `Content-Type` mean.

Pure. Values are read as Latin-1 and trimmed, as RFC 9110 section 5.5 says; the HTTP parser leaves
trailing white space in place.

A client sends the same headers with each request on a connection, but for a few that tell of the one
request. Those that stay are read once, and what follows from them is worked out once; see
`SteadyHeaders.once`.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeVar, TypeVarTuple

RawHeaders = Sequence[tuple[bytes, bytes]]

Given = TypeVarTuple("Given")
Found = TypeVar("Found")

JSON: Final = "application/json"
EVENT_STREAM: Final = "text/event-stream"

_CHANGING: Final = frozenset({b"content-length", b"traceparent", b"tracestate", b"baggage"})
"""Headers that tell of one request, whatever came before on its connection."""

_MAX_KEPT: Final = 32
_MAX_KEPT_BYTES: Final = 4096
"""How many headers are kept for the next request, and how long: connections may be many."""

_MAX_KNOWN: Final = 64

_MAX_LENGTH_DIGITS: Final = 18
_REMEMBERED: Final = 256
"""How many values of a header are not read again: clients send the same ones over and over."""


class HeaderValues:
    """Values of headers, by lower-case name."""

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, list[str]]) -> None:
        self._values = values

    def all(self, name: str) -> list[str]:
        """Return every value under `name`, in order."""
        return self._values.get(name, [])

    def get(self, name: str) -> str | None:
        """Return the last value under `name`, or None."""
        values = self._values.get(name)
        return values[-1] if values else None


class SteadyHeaders(HeaderValues):
    """The headers of a request that its client is likely to send again with the next.

    Knows of the others that they came, and no more.
    """

    __slots__ = ("_known", "_pairs", "outline")

    def __init__(self, outline: RawHeaders) -> None:
        """Read headers.

        Args:
            outline: All headers of a request, without the values of those that tell of it alone.
        """
        self._pairs = [_decoded(pair) for pair in outline if pair[0] not in _CHANGING]
        super().__init__(_values_of(self._pairs))
        self.outline: Final = outline
        self._known: dict[tuple[object, ...], Any] = {}

    @property
    def worth_keeping(self) -> bool:
        """Whether they may be kept for the next request on the connection."""
        outline = self.outline
        size = sum(len(name) + len(value) for name, value in outline)
        return len(outline) <= _MAX_KEPT and size <= _MAX_KEPT_BYTES

    def pairs(self) -> list[tuple[str, str]]:
        """Return them in order."""
        return list(self._pairs)

    def names(self) -> tuple[str, ...]:
        """Return the names of all headers, each once, sorted."""
        return tuple(sorted({_decoded(pair)[0] for pair in self.outline}))

    def once(self, work: "Callable[[SteadyHeaders, *Given], Found]", *given: *Given) -> Found:
        """Return what a pure function makes of these headers, which is worked out once.

        Args:
            work: The function. What it raises is not remembered.
            given: Its other arguments, which can be keys of a dict.
        """
        key = (work, *given)
        try:
            found: Found = self._known[key]
        except KeyError:
            found = work(self, *given)
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[key] = found
        return found


class Headers(HeaderValues):
    """The headers of one request.

    Attributes:
        steady: Those that are likely to come again.
    """

    __slots__ = ("_raw", "steady")

    def __init__(self, raw: RawHeaders, before: SteadyHeaders | None = None) -> None:
        """Read headers.

        Args:
            raw: Names and values as they came.
            before: Those that came with the request before on the same connection.
        """
        changing = [pair for pair in raw if pair[0] in _CHANGING]
        super().__init__(_values_of(map(_decoded, changing)) if changing else {})
        outline = [(pair[0], b"") if pair[0] in _CHANGING else pair for pair in raw]
        if before is not None and before.outline == outline:
            self.steady = before
        else:
            self.steady = SteadyHeaders(outline)
        self._raw = raw

    def all(self, name: str) -> list[str]:
        """Return every value under `name`, in order."""
        return self._values.get(name) or self.steady.all(name)

    def get(self, name: str) -> str | None:
        """Return the last value under `name`, or None."""
        values = self._values.get(name)
        return values[-1] if values else self.steady.get(name)

    def pairs(self) -> list[tuple[str, str]]:
        """Return all headers in order."""
        return [_decoded(pair) for pair in self._raw]


def _decoded(pair: tuple[bytes, bytes]) -> tuple[str, str]:
    name, value = pair
    return name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")


def _values_of(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values


@dataclass(frozen=True, slots=True)
class Accepted:
    """Which of the two kinds of answer a client takes.

    Attributes:
        json: Whether it takes one JSON body.
        event_stream: Whether it takes an event stream.
        prefers_stream: Whether it would rather have a stream where either would do.
    """

    json: bool
    event_stream: bool
    prefers_stream: bool = False


ANY_ANSWER: Final = Accepted(json=True, event_stream=True)
"""What a client takes that does not say."""


def accepted_by(headers: HeaderValues) -> Accepted:
    """Read `Accept`: the most specific range decides, and a weight of 0 means no.

    Without a range in it, a client takes anything. Of two kinds the one of more weight is
    preferred, and of two of equal weight the one that is named first. Source: RFC 9110, sections
    12.4.2 and 12.5.1, which leave the last rule to the server.
    """
    return _accepted(",".join(headers.all("accept")))


@lru_cache(_REMEMBERED)
def _accepted(ranges_text: str) -> Accepted:
    parts = ranges_text.split(",")
    ranges = {name: weight for name, weight in map(_media_range, parts) if name}
    if not ranges:
        return ANY_ANSWER
    json, json_weight = _wanted(ranges, JSON, "application/*", "*/*")
    stream, stream_weight = _wanted(ranges, EVENT_STREAM, "text/*", "*/*")
    order = list(ranges)
    first = json != stream and order.index(stream) < order.index(json) if json and stream else False
    return Accepted(
        json=json_weight > 0,
        event_stream=stream_weight > 0,
        prefers_stream=stream_weight > json_weight or (stream_weight == json_weight > 0 and first),
    )


def declared_bytes(headers: Headers) -> int | None:
    """Say how long the body is declared to be; None if that is not said.

    A number with more digits than any size has is as good as endless; zeros in front do not count
    (RFC 9110, section 8.6, sets no limit, and `int` does).
    """
    text = headers.get("content-length") or ""
    if not text.isdecimal():
        return None
    digits = text.lstrip("0")
    return int(digits or "0") if len(digits) <= _MAX_LENGTH_DIGITS else sys.maxsize


def is_json(headers: HeaderValues) -> bool:
    """Tell whether the body is declared to be JSON, in UTF-8 where it says."""
    return _is_json(headers.get("content-type") or "")


@lru_cache(_REMEMBERED)
def _is_json(content_type: str) -> bool:
    media_type, _, parameters = content_type.partition(";")
    if media_type.strip().lower() != JSON:
        return False
    _, found, charset = parameters.lower().partition("charset=")
    return not found or charset.strip(' "') in {"utf-8", "utf8"}


def _wanted(ranges: Mapping[str, float], *names: str) -> tuple[str, float]:
    """Return the first of `names` that is in `ranges`, and its weight; no name and 0 if none is."""
    return next(((name, ranges[name]) for name in names if name in ranges), ("", 0.0))


def _media_range(part: str) -> tuple[str, float]:
    """Return a media range without parameters, and its weight from 0 to 1."""
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        key, _, weight = parameter.partition("=")
        if key.strip() == "q":
            try:
                return name, min(max(float(weight), 0.0), 1.0)
            except ValueError:
                return name, 0.0
    return name, 1.0
