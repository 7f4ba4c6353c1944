"""What `linkspan run` says: how to point a client at it, with a credential where one is needed."""

import json

import pytest

from linkspan_cli.greeting import greeting

MCP = "http://127.0.0.1:8000/mcp"


def said(**auth: str) -> str:
    environ = {f"LINKSPAN_WORKER_AUTH_{name}": value for name, value in auth.items()}
    return greeting("app", MCP, ["127.0.0.1:50051"], "data", None, [], environ)


@pytest.mark.parametrize("auth", [{"API_KEYS": "keys"}, {"ISSUER": "https://as.example"}])
def test_where_a_credential_is_needed_each_way_in_shows_where_it_goes(auth: dict[str, str]) -> None:
    lines = said(**auth).splitlines()
    flag = '--header "Authorization: Bearer CREDENTIAL"'
    (claude,) = [line for line in lines if "claude mcp add" in line]
    (inspector,) = [line for line in lines if "inspector" in line]
    (config,) = [line for line in lines if "mcpServers" in line]
    assert claude.endswith(flag)
    assert inspector.endswith(flag)
    server = json.loads(config[config.index("{") :])["mcpServers"]["linkspan"]
    assert server["headers"] == {"Authorization": "Bearer CREDENTIAL"}
    assert [line for line in lines if line.startswith("CREDENTIAL is")]


def test_without_authentication_no_credential_is_spoken_of() -> None:
    assert "CREDENTIAL" not in said()
    assert "Authorization" not in said()
