"""A session server that redirects a worker to wherever it likes: the worker does not go there."""

from collections.abc import Iterator

import pytest
from tests.requirements import requirement
from tests.support.impostor import Impostor, running_impostor
from tests.support.peer import peer_of
from tests.support.processes import linkspan

NOT_FOLLOWED = "a redirect that leads to no session server was not followed"


@pytest.fixture(scope="module")
def impostor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Impostor]:
    with running_impostor(tmp_path_factory.mktemp("impostor")) as running:
        yield running


def is_given_up(impostor: Impostor, owner: str, *arguments: str) -> list[str]:
    """Open a session through a worker that is redirected, in vain; returns the worker's log."""
    impostor.forget()
    impostor.owner = owner
    command = ("--session", f"127.0.0.1:{impostor.port}", "--port", "0", "--retry-for", "0.3")
    with linkspan("worker", *command, *arguments) as worker:
        with peer_of(worker.wait_ready()["mcp"]) as peer:
            answer = peer.initialize()
        assert worker.stop() == 0
    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.error["message"] == "The session is on its way to another server; try again"
    return worker.errors


@requirement("attacks.redirects")
@pytest.mark.parametrize("owner", ["unix:{0}#1f", "dns:///localhost:{1}#1f", "xds:///x#1f"])
def test_a_redirect_out_of_the_network_is_not_followed(impostor: Impostor, owner: str) -> None:
    owner = owner.format(impostor.victim_socket, impostor.victim_port)
    log = is_given_up(impostor, owner)
    assert impostor.connected == 0
    assert any(NOT_FOLLOWED in line for line in log)


@requirement("attacks.redirects")
@pytest.mark.parametrize(("networks", "followed"), [("10.0.0.0/8", False), ("127.0.0.1", True)])
def test_a_redirect_is_followed_into_the_networks_that_are_named(
    impostor: Impostor, networks: str, followed: bool
) -> None:
    owner = f"127.0.0.1:{impostor.victim_port}#1f"
    is_given_up(impostor, owner, "--session-networks", networks)
    assert (impostor.connected > 0) == followed


@requirement("attacks.redirects")
def test_servers_that_redirect_for_ever_are_given_up(impostor: Impostor) -> None:
    is_given_up(impostor, f"127.0.0.1:{impostor.port}#1f")
    assert 1 < len(impostor.metadata) < 40  # for 0.3 s, with pauses of 10 ms at least
