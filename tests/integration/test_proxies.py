"""Behind proxies: a real worker, and what its spans say of who called it."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from tests.requirements import requirement
from tests.support.processes import linkspan
from tests.support.scrape import metrics_of, scrape
from tests.support.stack import Stack, running_stack
from tests.support.waiting import wait_until

from linkspan_propagation.testing import OtlpReceiver

NAME: Final = "mcp.example.com"
CLIENT: Final = "203.0.113.7"
ATTRIBUTES: Final = (
    "url.scheme",
    "server.address",
    "server.port",
    "client.address",
    "client.port",
    "network.peer.address",
)
FORGED: Final = {
    "forwarded": f"for={CLIENT};proto=https;host={NAME}",
    "x-forwarded-for": CLIENT,
    "x-forwarded-proto": "https",
    "x-forwarded-host": NAME,
}

_agents: Final = (f"proxied {number}" for number in itertools.count())


@pytest.fixture(scope="module")
def proxied(receiver: OtlpReceiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A worker that believes proxies on this machine and in 10.0.0.0/8, and has a name."""
    with running_stack(
        tmp_path_factory.mktemp("data"),
        receiver=receiver,
        worker_arguments=(
            *("--trusted-proxies", "127.0.0.1,10.0.0.0/8"),
            *("--allowed-hosts", NAME),
            "--insecure-no-auth",
            *("--metrics-port", "0"),
        ),
    ) as running:
        yield running


def seen(stack: Stack, receiver: OtlpReceiver, headers: dict[str, str]) -> dict[str, Any]:
    """Send one request, and return what its span says of where it came from."""
    agent = next(_agents)
    httpx2.put(stack.mcp, headers={**headers, "user-agent": agent}, timeout=30)

    def found(spans: list[Any]) -> list[Any]:
        return [each for each in spans if each.attributes.get("user_agent.original") == agent]

    (span,) = found(receiver.wait_for(lambda spans: bool(found(spans)), 15, agent))
    said = {name: span.attributes.get(name) for name in ATTRIBUTES}
    if said["network.peer.address"] is None:
        assert isinstance(said.pop("client.port"), int)
    else:
        assert isinstance(span.attributes["network.peer.port"], int)
    return said


@requirement("proxies.untrusted", "proxies.span")
@pytest.mark.parametrize("headers", [{}, FORGED])
def test_what_a_client_says_of_its_way_changes_nothing(
    stack: Stack, receiver: OtlpReceiver, headers: dict[str, str]
) -> None:
    assert seen(stack, receiver, headers) == {
        "url.scheme": "http",
        "server.address": "127.0.0.1",
        "server.port": int(stack.mcp.rpartition(":")[2].partition("/")[0]),
        "client.address": "127.0.0.1",
        "network.peer.address": None,
    }


@requirement("proxies.span")
@pytest.mark.parametrize(
    ("headers", "scheme", "server", "client"),
    [
        (
            {"forwarded": f'for="{CLIENT}:4711";proto=https;host={NAME}'},
            "https",
            (NAME, 443),
            (CLIENT, 4711),
        ),
        (
            {
                "x-forwarded-for": f"1.2.3.4, {CLIENT}, 10.0.0.9",
                "x-forwarded-proto": "https",
                "x-forwarded-host": f"{NAME}:8443",
            },
            "https",
            (NAME, 8443),
            (CLIENT, None),
        ),
        ({"x-forwarded-for": "2001:DB8::1"}, "http", None, ("2001:db8::1", None)),
        ({"forwarded": f"for={CLIENT}", "x-forwarded-for": CLIENT}, "http", None, (CLIENT, None)),
    ],
)
def test_a_trusted_proxy_says_who_called_what(
    proxied: Stack,
    receiver: OtlpReceiver,
    headers: dict[str, str],
    scheme: str,
    server: tuple[str, int] | None,
    client: tuple[str, int | None],
) -> None:
    address = server or ("127.0.0.1", int(proxied.mcp.rpartition(":")[2].partition("/")[0]))
    assert seen(proxied, receiver, headers) == {
        "url.scheme": scheme,
        "server.address": address[0],
        "server.port": address[1],
        "client.address": client[0],
        "client.port": client[1],
        "network.peer.address": "127.0.0.1",
    }


@requirement("proxies.unreadable", "proxies.both")
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"forwarded": "for=1.2.3.4, nonsense"},
        {"forwarded": "for=unknown"},
        {"x-forwarded-for": "1.2.3.4, nonsense"},
        {"x-forwarded-for": CLIENT, "forwarded": "for=1.2.3.4"},
    ],
)
def test_what_cannot_be_told_is_the_proxys_own_request(
    proxied: Stack, receiver: OtlpReceiver, headers: dict[str, str]
) -> None:
    said = seen(proxied, receiver, headers)
    assert (said["client.address"], said["network.peer.address"]) == ("127.0.0.1", None)


@requirement("proxies.host", "http.rebinding")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": NAME}, 405),
        ({"host": f"{NAME}:443", "x-forwarded-host": NAME}, 405),
        ({"x-forwarded-host": NAME}, 405),
        ({"host": "evil.example"}, 421),
        ({"host": "evil.example", "x-forwarded-host": "localhost"}, 421),
        ({"host": "evil.example", "forwarded": "host=localhost"}, 421),
        ({"x-forwarded-host": "evil.example"}, 421),
    ],
)
def test_a_proxy_may_name_a_host_of_ours_and_nothing_makes_up_for_a_foreign_one(
    proxied: Stack, headers: dict[str, str], status: int
) -> None:
    assert httpx2.put(proxied.mcp, headers=headers, timeout=30).status_code == status


def test_the_scheme_that_a_proxy_names_is_measured(proxied: Stack) -> None:
    httpx2.put(proxied.mcp, headers={"x-forwarded-proto": "https"}, timeout=30)
    count = "http_server_request_duration_seconds_count"
    wait_until(  # it is recorded once the answer is out
        lambda: "https" in scrape(metrics_of(proxied.worker)).labels(count, "url_scheme"),
        "a request over https is counted",
    )


@requirement("proxies.exposed")
@pytest.mark.parametrize("command", ["worker", "run"])
def test_behind_a_proxy_the_start_is_refused_without_authentication(
    command: str, tmp_path: Path
) -> None:
    env = {
        "LINKSPAN_WORKER_TRUSTED_PROXIES": "127.0.0.1",
        "LINKSPAN_WORKER_PORT": "0",
        "LINKSPAN_SESSION_PORT": "0",
        "LINKSPAN_TRACES_PORT": "0",
    }
    with linkspan(command, env=env, cwd=tmp_path) as process:
        assert process.wait() == 2
        (line,) = process.errors
    assert "--trusted-proxies: " in line
    assert "--insecure-no-auth" in line


def test_a_network_that_is_none_stops_the_start(tmp_path: Path) -> None:
    with linkspan("worker", "--trusted-proxies", "proxy.example", cwd=tmp_path) as process:
        assert process.wait() == 2
        (line,) = process.errors
    assert "--trusted-proxies: must be networks" in line
