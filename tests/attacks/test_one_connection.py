"""Requests on one connection are each judged by their own headers, whatever came before on it."""

import json
from pathlib import Path
from typing import Final

import pytest
from tests.requirements import requirement
from tests.support.hostile import read_responses, sent_raw
from tests.support.peer import request, session_at
from tests.support.stack import running_stack

GOOD: Final[dict[str, str]] = {
    "host": "localhost",
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
}
OTHERS: Final[list[tuple[dict[str, str], int]]] = [
    ({"host": "evil.example"}, 421),
    ({"origin": "https://evil.example"}, 403),
    ({"mcp-session-id": "somebody-elses"}, 404),
    ({"content-type": "text/plain"}, 415),
    ({"accept": "text/html"}, 406),
    ({"content-encoding": "gzip"}, 415),
    ({"mcp-protocol-version": "2099-01-01"}, 400),
]


def raw(id_: int, fields: dict[str, str]) -> bytes:
    body = json.dumps(request("ping", id=id_)).encode()
    named = {**GOOD, **fields, "content-length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + body


@requirement("attacks.host")
@pytest.mark.parametrize("ahead", [True, False], ids=["in one piece", "in many"])
def test_what_was_good_with_one_request_is_looked_at_again_with_the_next(
    tmp_path: Path, *, ahead: bool
) -> None:
    pieces: list[bytes] = []
    expected: list[int] = []
    with running_stack(tmp_path) as stack, session_at(stack.mcp) as peer:
        own = {"mcp-session-id": peer.session_id or ""}
        for fields, status in OTHERS:
            for each, its_status in ((own, 200), ({**own, **fields}, status), (own, 200)):
                # Bodies of several lengths: what tells of one request alone differs as well.
                pieces.append(raw(10 ** (len(pieces) % 5), each))
                expected.append(its_status)
        pieces.append(raw(1, {**own, "connection": "close"}))
        expected.append(200)
        came = sent_raw(stack.mcp, [b"".join(pieces)] if ahead else pieces)
    assert [response.status for response in read_responses(came)] == expected
