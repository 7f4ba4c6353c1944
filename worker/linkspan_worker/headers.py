"""Reading HTTP request headers: plain lookups and what `Accept` and `Content-Type` mean.

Pure. Values are read as Latin-1 and trimmed, as RFC 9110 section 5.5 says; the HTTP parser leaves
trailing white space in place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

RawHeaders = Sequence[tuple[bytes, bytes]]

JSON: Final = "application/json"
EVENT_STREAM: Final = "text/event-stream"


class Headers:
    """The headers of one request, by lower-case name."""

    def __init__(self, raw: RawHeaders) -> None:
        self._pairs = [
            (name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t"))
            for name, value in raw
        ]

    def all(self, name: str) -> list[str]:
        """Return every value under `name`, in order."""
        return [value for each, value in self._pairs if each == name]

    def get(self, name: str) -> str | None:
        """Return the last value under `name`, or None."""
        values = self.all(name)
        return values[-1] if values else None

    def names(self) -> list[str]:
        """Return the names, each once, sorted."""
        return sorted({name for name, _ in self._pairs})

    def pairs(self) -> list[tuple[str, str]]:
        """Return all headers in order."""
        return list(self._pairs)

    def folded(self) -> dict[str, str]:
        """Return one value a name, the last."""
        return dict(self._pairs)


@dataclass(frozen=True, slots=True)
class Accepted:
    """Which of the two kinds of answer a client takes."""

    json: bool
    event_stream: bool


ANY_ANSWER: Final = Accepted(json=True, event_stream=True)
"""What a client takes that does not say."""


def accepted_by(headers: Headers) -> Accepted:
    """Read `Accept`; without one a client takes anything (RFC 9110, section 12.5.1)."""
    ranges = [part for value in headers.all("accept") for part in value.split(",")]
    wanted = {name for part in ranges if (name := _media_range(part))}
    if not wanted:
        return ANY_ANSWER
    return Accepted(
        json=bool(wanted & {"*/*", "application/*", JSON}),
        event_stream=bool(wanted & {"*/*", "text/*", EVENT_STREAM}),
    )


def is_json(headers: Headers) -> bool:
    """Tell whether the body is declared to be JSON, in UTF-8 where it says."""
    media_type, _, parameters = (headers.get("content-type") or "").partition(";")
    if media_type.strip().lower() != JSON:
        return False
    _, found, charset = parameters.lower().partition("charset=")
    return not found or charset.strip(' "') in {"utf-8", "utf8"}


def _media_range(part: str) -> str | None:
    """Return the media range without parameters; None if its weight is zero."""
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        if parameter.replace(" ", "").startswith("q="):
            try:
                if float(parameter.partition("=")[2]) == 0:
                    return None
            except ValueError:
                return None
    return name or None
