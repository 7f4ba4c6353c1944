"""A web page that points a name of its own at this machine gets nothing from the worker."""

import httpx2
import pytest
from tests.requirements import requirement
from tests.support.stack import Stack


@requirement("http.rebinding")
@pytest.mark.parametrize(
    ("headers", "status"),
    [({"host": "evil.example"}, 421), ({"origin": "http://evil.example"}, 403)],
)
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE", "OPTIONS"])
def test_a_foreign_host_or_origin_is_refused(
    stack: Stack, method: str, headers: dict[str, str], status: int
) -> None:
    with httpx2.Client(timeout=30) as http:
        response = http.request(method, stack.mcp, headers=headers)
    assert response.status_code == status
    assert response.json()["error"]["code"] == -32600
