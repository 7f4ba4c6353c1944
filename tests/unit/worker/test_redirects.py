"""Which addresses a worker calls because a session server names them."""

import pytest

from linkspan_worker.redirects import ANYWHERE, leads_to_session_server, parse_whereabouts

TCP = "ipv4:10.0.0.1:50051,10.0.0.2:50051"


@pytest.mark.parametrize(
    "owner", ["10.0.0.7:50051#1f", "[fd00::7]:1#1f", "sessions-0.sessions.svc:65535#1f", "a_b:1#"]
)
def test_a_redirect_to_an_address_is_followed(owner: str) -> None:
    assert leads_to_session_server(owner, TCP, ANYWHERE)


@pytest.mark.parametrize(
    "owner",
    [
        "",
        "#",
        "10.0.0.7:50051",
        "10.0.0.7#1f",
        ":50051#1f",
        "10.0.0.7:0#1f",
        "10.0.0.7:65536#1f",
        "10.0.0.7:50051/x#1f",
        "10.0.0.7:50051,10.0.0.8:1#1f",
        "10.0.0.7:50051 #1f",
        "10.0.0.7:50051\n#1f",
        "user@10.0.0.7:50051#1f",
        "dns:///evil:50051#1f",
        "dns://8.8.8.8/evil:50051#1f",
        "xds:///evil#1f",
        "http://10.0.0.7:1#1f",
        "ipv4:10.0.0.7:50051#1f",
        "dns:53#1f",
        "xds:1#1f",
        "Google-C2P:1#1f",
        "unix:/run/docker.sock#1f",
        "unix-abstract:x#1f",
        "vsock:2:1#1f",
        "\u0661\u0660.0.0.7:1#1f",
        "10.0.0.7:\u0661#1f",
        "a" * 600 + ":1#1f",
    ],
)
def test_a_redirect_to_anything_else_is_not(owner: str) -> None:
    assert not leads_to_session_server(owner, TCP, ANYWHERE)


@pytest.mark.parametrize(
    ("owner", "followed"),
    [("unix:/run/a.sock#1f", True), ("unix:/run/\x1b[2J#1f", False), ("10.0.0.7:1#1f", True)],
)
def test_a_worker_that_calls_a_socket_follows_a_redirect_to_one(owner: str, followed: bool) -> None:
    assert leads_to_session_server(owner, "unix:/run/b.sock", ANYWHERE) == followed


@pytest.mark.parametrize(
    ("owner", "followed"),
    [
        ("10.1.2.3:1#1f", True),
        ("[fd00::7]:1#1f", True),
        ("192.168.0.9:1#1f", True),
        ("sessions:1#1f", True),
        ("a.Sessions.svc:1#1f", True),
        ("11.0.0.1:1#1f", False),
        ("192.168.0.8:1#1f", False),
        ("169.254.169.254:80#1f", False),
        ("sessions.svc:1#1f", False),
        ("evil-sessions.svc:1#1f", False),
        ("evil:1#1f", False),
    ],
)
def test_a_redirect_out_of_the_networks_named_is_not_followed(owner: str, followed: bool) -> None:
    whereabouts = parse_whereabouts("10.0.0.0/8, fd00::/8,192.168.0.9, Sessions,*.sessions.svc,")
    assert leads_to_session_server(owner, TCP, whereabouts) == followed


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0", "a b", "*", "*.", "-/x", "fd00::/8 x"])
def test_what_is_no_network_and_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be networks"):
        parse_whereabouts(text)


def test_whereabouts_are_written_as_they_are_read() -> None:
    assert str(parse_whereabouts("10.0.0.0/8,*.x")) == "10.0.0.0/8,*.x"
    assert str(ANYWHERE) == "anywhere"
