"""Metadata as attributes of a span: only keys that were asked for, and never a secret.

Pure: no gRPC, no OpenTelemetry. ``options`` checks the keys once, ``server_spans`` and
``client_spans`` read the values.

Invariant: no value of a key that ``checked_keys`` refuses becomes an attribute. Source:
https://opentelemetry.io/docs/specs/semconv/rpc/rpc-spans/, ``rpc.request.metadata``: "SHOULD
require an explicit configuration of which metadata values are to be captured".
"""

import re
from collections.abc import Collection, Iterable
from typing import Final

from linkspan_propagation.errors import MetadataCaptureError

_KEY: Final = re.compile(r"[0-9a-z_.\-]+")
"""https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, ``Header-Name``, lower case."""

_SECRET: Final = re.compile(
    r"auth|cookie|credential|passw|secret|session|signature|token|api[-_.]?key|private[-_.]?key"
)
"""Parts of keys whose values open something: whoever reads traces may not use them.

Wide on purpose, as in ``x-goog-iam-authorization-token`` and ``mcp-session-id``: a key that is
refused costs an attribute, one that is not may cost more.
"""


def checked_keys(keys: Collection[str]) -> frozenset[str]:
    """Return ``keys`` in lower case.

    Raises:
        MetadataCaptureError: a key is none of gRPC's, its values are bytes (``-bin``), or they may
            be secrets (``authorization``, ``cookie``, anything with ``token`` in it and the like).
    """
    checked: set[str] = set()
    for given in keys:
        key = given.lower()
        if _KEY.fullmatch(key) is None:
            raise MetadataCaptureError(given, "it is no key of gRPC metadata")
        if key.endswith("-bin"):
            raise MetadataCaptureError(given, "its values are bytes, and an attribute is text")
        if _SECRET.search(key) is not None:
            raise MetadataCaptureError(given, "its values may be secrets")
        checked.add(key)
    return frozenset(checked)


def captured(
    prefix: str, keys: Collection[str], metadata: Iterable[tuple[str, str | bytes]] | None
) -> dict[str, tuple[str, ...]]:
    """Return the attributes for the entries of ``metadata`` that ``keys`` names.

    Args:
        prefix: what stands before a key, without the dot.
        keys: what ``checked_keys`` returned.
        metadata: entries in order; None is the same as empty.

    Returns:
        For each key that is there all its values in order, by ``prefix.key``.
    """
    found: dict[str, tuple[str, ...]] = {}
    for entry in metadata or ():
        key, value = entry[0], entry[1]
        if key in keys and isinstance(value, str):
            name = f"{prefix}.{key}"
            found[name] = (*found.get(name, ()), value)
    return found
