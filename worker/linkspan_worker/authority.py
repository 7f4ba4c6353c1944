"""Which host a request is for: exactly one, or it is refused.

Pure. A proxy and a server that each pick another of two hosts can be played off against each other;
the check against DNS rebinding, too, needs the one that counts. What a target in absolute form says
has taken the place of `Host` before (`http.connection`).

Source: RFC 9112, section 3.2.
"""

from http import HTTPStatus
from typing import Final

from linkspan_contract.envelope import INVALID_REQUEST
from linkspan_worker.failures import Refusal
from linkspan_worker.headers import HeaderValues

_NOT_ONE: Final = Refusal(
    HTTPStatus.BAD_REQUEST,
    INVALID_REQUEST,
    "Bad request: there must be one Host header",
    "400",
)


def refuse_hosts(headers: HeaderValues, http_version: str) -> Refusal | None:
    """Refuse a request with several hosts, or without one, which HTTP/1.0 allows.

    Args:
        headers: The request's headers.
        http_version: Such as `1.1`.
    """
    count = len(headers.all("host"))
    return None if count == 1 or (count == 0 and http_version == "1.0") else _NOT_ONE
