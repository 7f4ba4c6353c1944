"""How much one span may hold, and what a value of an attribute may be.

Pure. Above lies the span, which asks here for each value that is not plainly harmless.

The rules are OpenTelemetry's, https://opentelemetry.io/docs/specs/otel/common/#attribute-limits and
https://opentelemetry.io/docs/specs/otel/trace/sdk/#span-limits, as its SDK for Python applies them:
where there is no room, the oldest goes; a list becomes a tuple; a value of a strange type becomes its
text, if it has one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeGuard, cast

from opentelemetry.util.types import AnyValue

from linkspan_tracing.errors import TracingConfigurationError

Attributes: TypeAlias = dict[str, AnyValue]

PLAIN: Final = frozenset({str, bool, int, float, bytes, type(None)})
"""Types whose values can neither change nor hide anything: they are kept as they are."""

_DEEPEST: Final = 32
"""How far values may be nested; one that contains itself has to end somewhere."""

_DEFAULT_COUNT: Final = 128


class UnencodableError(ValueError):
    """A value that no attribute can hold. Never leaves this library."""


@dataclass(frozen=True, slots=True)
class SpanLimits:
    """How much one span may hold.

    Attributes:
        attributes: of the span; ``OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT``, or else
            ``OTEL_ATTRIBUTE_COUNT_LIMIT``. Default 128.
        attribute_length: characters of a text in an attribute of the span;
            ``OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT``, or else
            ``OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT``. None, the default, is no limit.
        events: ``OTEL_SPAN_EVENT_COUNT_LIMIT``. Default 128.
        links: ``OTEL_SPAN_LINK_COUNT_LIMIT``. Default 128.
        event_attributes: of one event; ``OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT``, or else
            ``OTEL_ATTRIBUTE_COUNT_LIMIT``. Default 128.
        link_attributes: of one link; ``OTEL_LINK_ATTRIBUTE_COUNT_LIMIT``, or else
            ``OTEL_ATTRIBUTE_COUNT_LIMIT``. Default 128.
        other_length: characters of a text in an attribute of an event or a link;
            ``OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT``. None, the default, is no limit.
    """

    attributes: int = _DEFAULT_COUNT
    attribute_length: int | None = None
    events: int = _DEFAULT_COUNT
    links: int = _DEFAULT_COUNT
    event_attributes: int = _DEFAULT_COUNT
    link_attributes: int = _DEFAULT_COUNT
    other_length: int | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "SpanLimits":
        """Read the variables; an empty one is the same as none.

        Raises:
            TracingConfigurationError: one is no whole number from 0 on.
        """

        def count(*variables: str) -> int:
            limit = _first_number(environ, *variables)
            return _DEFAULT_COUNT if limit is None else limit

        every = "OTEL_ATTRIBUTE_COUNT_LIMIT"
        length = "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"
        return cls(
            attributes=count("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", every),
            attribute_length=_first_number(
                environ, "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", length
            ),
            events=count("OTEL_SPAN_EVENT_COUNT_LIMIT"),
            links=count("OTEL_SPAN_LINK_COUNT_LIMIT"),
            event_attributes=count("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", every),
            link_attributes=count("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", every),
            other_length=_first_number(environ, length),
        )


def _first_number(environ: Mapping[str, str], *variables: str) -> int | None:
    for variable in variables:
        text = environ.get(variable, "").strip()
        if text:
            if not (text.isascii() and text.isdigit()):
                raise TracingConfigurationError(variable, text, "a whole number from 0 on")
            return int(text)
    return None


def clean(value: Any, longest: int | None, depth: int = 0) -> AnyValue:
    """Return a value as an attribute keeps it: of exact types, and nobody else's to change.

    Args:
        value: anything.
        longest: how many characters of a text to keep; None for all.
        depth: how deep inside an attribute the value is.

    Raises:
        UnencodableError: no attribute can hold it.
    """
    if type(value) in PLAIN and not isinstance(value, str):
        plain: AnyValue = value
        return plain
    try:
        if isinstance(value, str):
            # Of an enumeration or another class of its own, what it is, not what it says that it is.
            text = str.__str__(value)
            return text if longest is None else text[:longest]
        if isinstance(value, int):
            return int.__int__(value)
        if isinstance(value, float):
            return float.__float__(value)
        if isinstance(value, bytes):
            return bytes(memoryview(value))
        return _clean_other(value, longest, depth)
    except UnencodableError:
        raise
    except Exception as error:  # a value's own methods may do anything
        raise UnencodableError(type(value).__name__) from error


def _clean_other(value: Any, longest: int | None, depth: int) -> AnyValue:
    if depth >= _DEEPEST:
        raise UnencodableError(f"more than {_DEEPEST} levels")
    if _is_sequence(value):
        return tuple(clean(item, longest, depth + 1) for item in value)
    if _is_mapping(value):
        return {text_of(key): clean(item, longest, depth + 1) for key, item in value.items() if key}
    text = text_of(value)
    return text if longest is None else text[:longest]


def _is_sequence(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence)


def _is_mapping(value: Any) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def text_of(value: Any) -> str:
    """Return the text of a key or value that is none by itself.

    Raises:
        UnencodableError: it has none but its address in memory.
    """
    if isinstance(value, str):
        return str.__str__(value)
    kind = cast("Any", type(value))
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        raise UnencodableError(kind.__name__)
    return str(value)


_TEXTS_ONLY: Final = {str}


def are_texts(value: object) -> bool:
    """Tell whether a value is a list as attributes keep it, and of texts alone."""
    return type(value) is tuple and set(map(type, cast("tuple[object, ...]", value))) == _TEXTS_ONLY


def bounded(
    attributes: Mapping[str, Any], most: int, longest: int | None
) -> tuple[Attributes, int]:
    """Return a copy of attributes that keeps to the limits.

    Args:
        attributes: anything that is a mapping.
        most: how many to keep, the newest.
        longest: how many characters of a text to keep; None for all.

    Returns:
        The attributes, and how many were dropped.
    """
    kept: Attributes = {}
    kind = type(attributes)
    if longest is None and kind is dict and len(attributes) <= most:
        kept = dict(attributes)
        unclear = [key for key, value in kept.items() if type(value) not in PLAIN]
        return kept, _clean(kept, unclear)
    dropped = 0
    for key, value in attributes.items():
        dropped += put(kept, key, value, most, longest)
    return kept, dropped


def _clean(attributes: Attributes, keys: Iterable[str]) -> int:
    """Clean the values of some attributes in place; returns how many had to be dropped."""
    dropped = 0
    for key in keys:
        value = attributes[key]
        if are_texts(value):
            continue
        try:
            attributes[key] = clean(value, None)
        except UnencodableError:
            del attributes[key]
            dropped += 1
    return dropped


def can_join(
    attributes: Mapping[str, Any], kept: Attributes, most: int, longest: int | None
) -> bool:
    """Tell whether attributes can be added as they are: new ones, plain, and there is room.

    Args:
        attributes: anything that is a mapping.
        kept: what there is.
        most: how many there may be.
        longest: how many characters of a text to keep; None for all.
    """
    kind = type(attributes)
    return (
        longest is None
        and kind is dict
        and len(kept) + len(attributes) <= most
        and kept.keys().isdisjoint(attributes)
        and PLAIN.issuperset(map(type, attributes.values()))
    )


def put(attributes: Attributes, key: str, value: Any, most: int, longest: int | None) -> int:
    """Set one attribute, the newest now.

    Args:
        attributes: what there is; changed in place.
        key: what to set. One that is no text is sent as its text.
        value: anything.
        most: how many there may be.
        longest: how many characters of a text to keep; None for all.

    Returns:
        How many attributes that dropped: this one where it cannot be kept, or else the oldest.
    """
    if most == 0:
        return 1
    if type(value) not in PLAIN or longest is not None:
        try:
            value = clean(value, longest)
        except UnencodableError:
            return 1
    dropped = 0
    try:
        if key in attributes:
            del attributes[key]
        # A loop, for other threads may have set more than there is room for at the same time.
        while len(attributes) >= most:
            del attributes[next(iter(attributes))]
            dropped += 1
        attributes[key] = value
    except (KeyError, RuntimeError, StopIteration):
        # Another thread sets attributes of the same span; there is no lock, so one of the two yields.
        attributes[key] = value
    except TypeError:  # a key that cannot be one
        return 1
    return dropped
