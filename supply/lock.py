"""Lock files as data. Pure."""

import re
from dataclasses import dataclass
from typing import Final

_PIN: Final = re.compile(r"([A-Za-z0-9._-]+)==([^\s;\\]+)")
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Pin:
    """A package that is locked.

    Attributes:
        name: Its normalized name.
        version: Its version.
        sha256: The digests of what may be installed as it, in hex; one for each file of it.
        marker: Where it is installed (PEP 508); empty for everywhere.
    """

    name: str
    version: str
    sha256: tuple[str, ...]
    marker: str = ""


def read_lock(text: str) -> list[Pin]:
    """Read a lock file.

    Raises:
        ValueError: A line pins no package, or has no digest.
    """
    pins: list[Pin] = []
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _PIN.match(line)
        digests = tuple(_HASH.findall(line))
        if match is None or not digests:
            raise ValueError(f"not a pin with digests: {line[:80]!r}")
        marker = line.partition(";")[2].partition("--hash")[0].strip()
        pins.append(Pin(match[1], match[2], digests, marker))
    return pins
