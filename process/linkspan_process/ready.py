"""The ready line: how a process tells its parent, or a test, that it serves and where.

One line on standard output, `ready` and then one `name=address` for each address, such as
`ready grpc=127.0.0.1:50051`. Written once, after every address accepts connections.
"""

import re
from collections.abc import Mapping
from typing import Final

_LINE: Final = re.compile(r"ready((?: [a-z]+=\S+)+)")


def ready_line(addresses: Mapping[str, str]) -> str:
    """Write the line, without a newline, for the addresses in the order given."""
    return " ".join(["ready", *(f"{name}={address}" for name, address in addresses.items())])


def parse_ready_line(line: str) -> dict[str, str] | None:
    """Read the line; None if it is not one, as when a hosted server prints to standard output."""
    match = _LINE.fullmatch(line.strip())
    if match is None:
        return None
    return dict(part.split("=", 1) for part in match[1].split())
