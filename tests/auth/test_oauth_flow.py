"""The official client logs in by itself: discovery, registration, PKCE, refresh, more scopes."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from mcp_types import TextContent
from pydantic import AnyUrl
from tests.auth.authorization_server import running_login
from tests.requirements import requirement
from tests.support.stack import running_stack

CALLBACK = "http://127.0.0.1:9/callback"


class Memory:
    """The client's token storage."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Browser:
    """The user's browser: it opens the page to log in, and is sent back with a code."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self._sent_to = ""

    async def open(self, url: str) -> None:
        self.opened.append(url)
        async with httpx2.AsyncClient() as http:
            response = await http.get(url)
        assert response.status_code == 302, response.text
        self._sent_to = response.headers["location"]

    async def come_back(self) -> AuthorizationCodeResult:
        query = parse_qs(urlsplit(self._sent_to).query)
        return AuthorizationCodeResult(code=query["code"][0], state=query["state"][0])


@asynccontextmanager
async def logged_in(
    mcp: str, memory: Memory, browser: Browser, mode: Literal["auto", "legacy"]
) -> AsyncGenerator[tuple[Client, OAuthClientProvider]]:
    provider = OAuthClientProvider(
        mcp,
        OAuthClientMetadata(client_name="tests", redirect_uris=[AnyUrl(CALLBACK)]),
        memory,
        redirect_handler=browser.open,
        callback_handler=browser.come_back,
    )
    async with (
        httpx2.AsyncClient(auth=provider, timeout=20) as http,
        Client(streamable_http_client(mcp, http_client=http), mode=mode) as client,
    ):
        yield client, provider


async def add(client: Client) -> str:
    result = await client.call_tool("add", {"a": 2, "b": 3})
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


@requirement("auth.flow")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_client_registers_logs_in_refreshes_and_steps_up(
    tmp_path: Path, mode: Literal["auto", "legacy"]
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[tools]\nadd = ["sums"]\n')

    async def test(mcp: str) -> None:
        memory, browser = Memory(), Browser()
        async with asyncio.timeout(45), logged_in(mcp, memory, browser, mode) as (client, provider):
            tools = await client.list_tools()
            assert "add" in {tool.name for tool in tools.tools}
            assert len(browser.opened) == 1
            asked = parse_qs(urlsplit(browser.opened[0]).query)
            assert asked["resource"] == [mcp]
            assert asked["code_challenge_method"] == ["S256"]
            assert asked["scope"][0].split() == ["mcp", "offline_access"]
            assert memory.tokens is not None
            first = memory.tokens.access_token
            provider.context.token_expiry_time = time.time() - 1
            await client.call_tool("echo", {"text": "hi"})
            assert memory.tokens.access_token != first
            assert len(browser.opened) == 1
            assert await add(client) == "5"
            assert len(browser.opened) == 2

    with running_login() as login:
        arguments = ("--auth-issuer", login.issuer, "--auth-scopes", "mcp")
        with running_stack(
            tmp_path / "data",
            worker_arguments=(*arguments, "--auth-scope-rules", str(rules)),
        ) as stack:
            asyncio.run(test(stack.mcp))
        grants = [grant for grant, _ in login.granted]
        assert grants == ["authorization_code", "refresh_token", "authorization_code"]
        assert "sums" in login.granted[-1][1].split()
