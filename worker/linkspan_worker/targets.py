"""Which session servers there are, as `--session` says it: text in, a gRPC target out.

Pure. gRPC has no single way to write what people write: a list of addresses has to name its family,
and a list of names does not exist, because names are what DNS is for.

Source: https://github.com/grpc/grpc/blob/master/doc/naming.md
"""

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

_LISTS: Final = {"ipv4": 4, "ipv6": 6}
_NAMED: Final = ("dns", "unix", "unix-abstract")
_MAX_PORT: Final = 65535


def parse_target(text: str) -> str:
    """Turn what `--session` says into a gRPC target.

    Takes `HOST:PORT`, a list of `ADDRESS:PORT` with commas between them, with or without `ipv4:` or
    `ipv6:` before it, and gRPC's own targets `dns:`, `unix:` and `unix-abstract:`.

    Raises:
        ValueError: It is none of these; the reason fits after "NAME: ".
    """
    target = text.strip()
    if not target:
        raise ValueError("must not be empty")
    scheme, _, rest = target.partition(":")
    if scheme in _LISTS:
        return _list_target(rest, scheme)
    if "," in target:
        return _list_target(target, None)
    if scheme not in _NAMED:
        _split(target)
    elif scheme == "dns":
        _split(rest.rpartition("/")[2])
    elif not rest.strip("/"):
        raise ValueError(
            f"must name a socket, such as unix:/run/linkspan/session.sock, not {text!r}"
        )
    return target


def parse_http_host(text: str) -> str:
    """Take the name or address of a host to serve HTTP on.

    Raises:
        ValueError: It is a Unix socket, which HTTP is not served on.
    """
    if text.partition(":")[0] in ("unix", "unix-abstract"):
        raise ValueError(f"must be a host: HTTP is served on ports only, not on {text!r}")
    return text


def name_of(target: str) -> str:
    """Return the name that certificates of the servers behind a target hold by default.

    That of the host, since the addresses that it stands for are not in certificates that somebody
    wrote for a name; empty for addresses, each of which is in its own server's certificate, and for
    sockets.

    Args:
        target: As `parse_target` returns it.
    """
    hosts = _hosts(target)
    host = hosts[0].strip("[]") if len(set(hosts)) == 1 else ""
    several = len(hosts) > 1
    try:
        ip_address(host)
    except ValueError:
        return host
    return host if several else ""


def names_several(target: str) -> bool:
    """Tell whether a target lists hosts of which no one stands for the others."""
    return len(set(_hosts(target))) > 1


def _hosts(target: str) -> list[str]:
    scheme, _, rest = target.partition(":")
    if scheme in _LISTS:
        return [_split(each)[0] for each in rest.split(",")]
    if scheme == "dns":
        return [_split(rest.rpartition("/")[2])[0]]
    return [] if scheme in _NAMED else [_split(target)[0]]


def _list_target(text: str, scheme: str | None) -> str:
    entries = [_entry(each.strip()) for each in text.split(",") if each.strip()]
    if not entries:
        raise ValueError("a list of session servers must name one at least")
    versions = {address.version for address, _ in entries}
    if len(versions) > 1:
        raise ValueError("a list of session servers holds IPv4 or IPv6 addresses, not both")
    (version,) = versions
    if scheme is not None and _LISTS[scheme] != version:
        raise ValueError(f"a list after {scheme}: holds no IPv{version} addresses")
    shown = ",".join(
        f"{address}:{port}" if version == 4 else f"[{address}]:{port}"  # noqa: PLR2004 - IPv4
        for address, port in entries
    )
    return f"ipv{version}:{shown}"


def _entry(text: str) -> tuple[IPv4Address | IPv6Address, int]:
    host, port = _split(text)
    try:
        return ip_address(host.removeprefix("[").removesuffix("]")), port
    except ValueError:
        raise ValueError(
            f"a list of session servers holds IP addresses, and {host!r} is a name; give all "
            "servers one name and write dns:///NAME:PORT"
        ) from None


def _split(text: str) -> tuple[str, int]:
    """Split `HOST:PORT`; an IPv6 host has its brackets."""
    host, _, digits = text.rpartition(":")
    bare_ipv6 = ":" in host and not (host.startswith("[") and host.endswith("]"))
    number = int(digits) if digits.isascii() and digits.isdigit() else 0
    if not host or bare_ipv6 or not 0 < number <= _MAX_PORT:
        raise ValueError(
            "must be HOST:PORT, a list such as 10.0.0.1:50051,10.0.0.2:50051, or a gRPC target "
            f"such as dns:///NAME:PORT, not {text!r}"
        )
    return host, number
