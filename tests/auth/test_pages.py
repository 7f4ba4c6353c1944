"""A page that has to log in: it can read why, and where."""

import httpx2
import pytest
from tests.auth.guarded import Guarded
from tests.integration.test_cors import FOREIGN, JSON, ORIGIN, PING, check_readable
from tests.requirements import requirement


@requirement("cors.exposed", "auth.challenge")
@pytest.mark.parametrize(
    ("authorization", "status"), [(None, 401), ("Bearer x.y.z", 401), ("Bearer", 400)]
)
def test_a_page_can_read_how_to_log_in(
    guarded: Guarded, authorization: str | None, status: int
) -> None:
    headers = {**JSON, "origin": ORIGIN}
    if authorization is not None:
        headers["authorization"] = authorization
    response = httpx2.post(guarded.mcp, headers=headers, content=PING, timeout=30)
    assert response.status_code == status
    assert response.headers["www-authenticate"].startswith("Bearer ")
    check_readable(response)


@requirement("cors.exposed")
def test_a_page_can_read_which_scopes_are_lacking(guarded: Guarded) -> None:
    with guarded.peer(guarded.token(scope="nothing")) as peer:
        peer.http.headers["origin"] = ORIGIN
        answer = peer.ask_modern("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})
    assert answer.status == 403
    assert 'scope="sums' in answer.headers["www-authenticate"]
    assert answer.headers["access-control-allow-origin"] == ORIGIN


@requirement("cors.metadata")
def test_a_page_can_look_up_the_metadata_and_one_that_is_not_allowed_cannot(
    guarded: Guarded,
) -> None:
    url = f"{guarded.stack.http}/.well-known/oauth-protected-resource/mcp"
    asked = {
        "origin": ORIGIN,
        "access-control-request-method": "GET",
        "access-control-request-headers": "mcp-protocol-version",
    }
    with httpx2.Client(timeout=30) as http:
        preflight = http.options(url, headers=asked)
        found = http.get(url, headers={"origin": ORIGIN})
        foreign = http.get(url, headers={"origin": FOREIGN})
        foreign_preflight = http.options(url, headers={**asked, "origin": FOREIGN})
        alone = http.get(url)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert preflight.headers["access-control-allow-headers"] == "mcp-protocol-version"
    check_readable(found)
    assert found.json()["resource"] == guarded.mcp
    for response in (foreign, foreign_preflight, alone):
        assert "access-control-allow-origin" not in response.headers
    assert foreign.headers["vary"] == alone.headers["vary"] == "Origin"


@requirement("cors.preflight")
def test_a_preflight_needs_no_credential(guarded: Guarded) -> None:
    asked = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    response = httpx2.options(guarded.mcp, headers=asked, timeout=30)
    assert response.status_code == 204
    assert response.headers["access-control-allow-headers"] == "authorization, content-type"
