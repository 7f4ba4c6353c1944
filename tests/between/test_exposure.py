"""What does not start: addresses that others reach without TLS, and files that are of no use."""

from pathlib import Path

import pytest
from tests.requirements import requirement
from tests.support.apps import PROBE
from tests.support.certificates import Authority, Files
from tests.support.processes import linkspan

ELSEWHERE = "0.0.0.0"  # noqa: S104 - refused, or served for a moment
SOMEWHERE = ("--advertise", "192.0.2.1:50051")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def files(authority: Authority) -> Files:
    return authority.issue("server")


def refusal(command: str, *flags: str) -> str:
    """Run a command that must not start, and return its only line."""
    app = ("--app", PROBE) if command == "session" else ()
    with linkspan(command, *app, "--port", "0", *flags) as process:
        assert process.wait() == 2, process.errors
        (line,) = process.errors
    assert line.startswith(f"linkspan {command}: ")
    return line


@requirement("tls.exposure")
@pytest.mark.parametrize(
    ("flags", "where"),
    [
        (("--host", ELSEWHERE), f"--host {ELSEWHERE}: "),
        (("--host", "::"), "--host ::: "),
        (("--admin-address", f"{ELSEWHERE}:0"), f"--admin-address {ELSEWHERE}: "),
    ],
)
def test_an_address_that_others_reach_without_tls_stops_the_start(
    flags: tuple[str, ...], where: str
) -> None:
    line = refusal("session", *flags, *SOMEWHERE)
    assert where in line
    for advice in ("--tls-cert", "127.0.0.1", "--insecure-no-tls", "LINKSPAN_SESSION_INSECURE_NO_"):
        assert advice in line


@requirement("tls.exposure")
def test_it_starts_with_tls_or_when_told_and_then_warns(files: Files, tmp_path: Path) -> None:
    where = ("--host", ELSEWHERE, "--port", "0", *SOMEWHERE, "--data", str(tmp_path))
    for flags, warned in ((("--insecure-no-tls",), True), (files.flags, False)):
        with linkspan("session", "--app", PROBE, *where, *flags) as process:
            process.wait_ready()
            assert process.stop() == 0
            said = [line for line in process.errors if "nobody is asked who they are" in line]
            assert bool(said) == warned


@requirement("tls.exposure")
def test_linkspan_run_refuses_what_its_session_server_would(tmp_path: Path) -> None:
    words = ("run", PROBE, "--port", "0", "--session-port", "0", "--data", str(tmp_path))
    for env, says in (
        ({"LINKSPAN_SESSION_HOST": ELSEWHERE}, "--insecure-no-tls"),
        ({"LINKSPAN_SESSION_TLS_CERT": "a.pem"}, "--tls-key and --tls-ca: missing"),
        (
            {f"LINKSPAN_SESSION_TLS_{name}": "a.pem" for name in ("CERT", "KEY", "CA")},
            "the session servers are given a certificate and the workers are not",
        ),
    ):
        with linkspan(*words, env=env) as process:
            assert process.wait() == 2
            (line,) = process.errors
        assert says in line


@requirement("tls.settings")
@pytest.mark.parametrize("command", ["session", "worker"])
def test_files_that_cannot_be_used_stop_the_start(
    command: str, authority: Authority, files: Files
) -> None:
    other = authority.issue("other")
    flags = ("--tls-cert", str(files.cert), "--tls-key", str(other.key), "--tls-ca", str(files.ca))
    line = refusal(command, *flags)
    assert f"--tls-key {other.key}: is not the key of the certificate in {files.cert}" in line


@requirement("tls.settings")
@pytest.mark.parametrize(
    ("command", "flags", "says"),
    [
        ("worker", ("--tls-cert", "a.pem"), "--tls-key and --tls-ca: missing; "),
        ("session", ("--tls-ca", "a.pem"), "--tls-cert and --tls-key: missing; "),
        ("worker", ("--tls-server-name", "a"), "--tls-server-name: is of use with"),
        ("session", ("--tls-peers", "a"), "--tls-peers: is of use with"),
        ("session", ("--tls-admin-peers", "a"), "--tls-admin-peers: is of use with"),
        ("session", ("--host", "unix:"), "--host: must be unix: and a path"),
        ("session", ("--host", "unix:/a b"), "--host: must be unix: and a path"),
        ("session", ("--host", "unix:/" + "x" * 107), "--host: the path of a socket has at most"),
        ("session", ("--admin-address", "50052"), "--admin-address: must be HOST:PORT or unix:"),
        ("session", ("--admin-address", "::1:50052"), "--admin-address: must be HOST:PORT or "),
        ("session", ("--admin-address", "a:b"), "--admin-address: must be a port"),
        ("session", ("--socket-mode", "777"), "--socket-mode: must be one of 600, 660"),
    ],
)
def test_settings_that_mean_nothing_stop_the_start(
    command: str, flags: tuple[str, ...], says: str
) -> None:
    assert says in refusal(command, *flags)


@requirement("tls.names")
def test_a_list_of_hosts_needs_the_name_in_their_certificates(files: Files) -> None:
    several = ("--session", "10.0.0.1:50051,10.0.0.2:50051")
    line = refusal("worker", *several, *files.flags)
    assert "--tls-server-name: name what the certificates of all session servers hold" in line


@requirement("tls.peers")
@pytest.mark.parametrize("flag", ["--tls-peers", "--tls-admin-peers"])
def test_a_wildcard_for_peers_stops_the_start(flag: str, files: Files) -> None:
    """It would let nobody in, and look as if it let many in."""
    apart = ("--admin-address", "127.0.0.1:0")
    line = refusal("session", *files.flags, *apart, flag, "a.example.com,worker.*")
    assert f"{flag}: " in line
    assert "'worker.*'" in line
    assert "wildcards do not count" in line
