"""Settings of addresses, limits, proxies and trails that are wrong: one line, and nothing starts."""

import socket
from pathlib import Path

import pytest
from tests.requirements import requirement
from tests.support.apps import PROBE
from tests.support.processes import linkspan

MISSING = "/no/such/folder"
FILES = ("--tls-cert", MISSING, "--tls-key", MISSING, "--tls-ca", MISSING)


def only_line(*words: str, env: dict[str, str] | None = None) -> str:
    """Run a command that must not start, and return the one line that it says."""
    with linkspan(*words, env=env) as process:
        assert process.wait() == 2, process.errors
        assert process.output == []
        (line,) = process.errors
    return line


@requirement("cli.bad-setting")
@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--trusted-proxies", "10.0.0.0/33"), "--trusted-proxies: must be networks such as"),
        (("--trusted-proxies", "10.0.0.1/8"), "--trusted-proxies: must be networks such as"),
        (("--session-networks", "10.0.0.1/8"), "--session-networks: must be networks such as"),
        (("--rate", "abc"), "--rate: must be how often, such as 50/s"),
        (("--rate-burst", "5"), "--rate-burst: is of use with --rate only"),
        (("--max-in-flight-per-caller", "x"), "--max-in-flight-per-caller: must be a number"),
        (("--allowed-hosts", "a:80"), "--allowed-hosts: must be names or addresses without ports"),
        (("--allowed-origins", "*"), "--allowed-origins: must be origins as browsers write them"),
        (("--host", "unix:/run/x.sock"), "--host: must be a host: HTTP is served on ports only"),
        (("--session", "unix:"), "--session: must name a socket, such as unix:/run/"),
        (FILES, f"--tls-cert {MISSING}: No such file or directory"),
    ],
)
def test_a_worker_says_what_is_wrong_in_one_line(flags: tuple[str, ...], says: str) -> None:
    assert only_line("worker", "--port", "0", *flags).startswith(f"linkspan worker: {says}")


@requirement("cli.bad-setting")
@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (
            ("--admin-address", "127.0.0.1:"),
            "--admin-address: must be a port from 0 to 65535, not ''",
        ),
        (("--admin-address", "127.0.0.1:99999"), "--admin-address: must be a port from 0 to 65535"),
        (
            ("--admin-address", f"unix:{MISSING}/a"),
            f"cannot serve on unix:{MISSING}/a: there is no",
        ),
        (("--tls-peers", " , ", *FILES), "--tls-peers: must be names separated by commas"),
        (("--insecure-no-tls", "maybe"), "--insecure-no-tls: must be one of yes, no"),
        (("--advertise", "0.0.0.0:1"), "--advertise: must be an address that others reach"),
        (FILES, f"--tls-cert {MISSING}: No such file or directory"),
    ],
)
def test_a_session_server_says_what_is_wrong_in_one_line(
    flags: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    words = ("session", "--app", PROBE, "--port", "0", "--data", str(tmp_path))
    assert only_line(*words, *flags).startswith(f"linkspan session: {says}")


@requirement("cli.bad-setting")
def test_operators_cannot_have_the_address_of_workers(tmp_path: Path) -> None:
    words = ("session", "--app", PROBE, "--data", str(tmp_path))
    sock = f"unix:{tmp_path / 'one.sock'}"
    line = only_line(*words, "--host", sock, "--admin-address", sock)
    assert f"cannot serve on {sock}: Address already in use" in line
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    port = address.rpartition(":")[2]
    line = only_line(*words, "--port", port, "--admin-address", address)
    assert f"cannot serve on {address}: Address already in use" in line
    assert "--admin-address" in line


@requirement("cli.bad-setting")
@pytest.mark.parametrize(
    ("flags", "env", "says"),
    [
        (("--rate", "abc"), {}, "`run` takes --rate from the environment, as LINKSPAN_WORKER_RATE"),
        ((), {"LINKSPAN_WORKER_RATE": "abc"}, "LINKSPAN_WORKER_RATE: must be how often"),
        ((), {"LINKSPAN_WORKER_RATE_BURST": "5"}, "--rate-burst: is of use with --rate only"),
        ((), {"LINKSPAN_WORKER_TRUSTED_PROXIES": "x"}, "LINKSPAN_WORKER_TRUSTED_PROXIES: must be"),
        ((), {"LINKSPAN_SESSION_HOST": "unix:"}, "LINKSPAN_SESSION_HOST: must be unix: and a path"),
        ((), {"LINKSPAN_SESSION_ADMIN_ADDRESS": "1"}, "LINKSPAN_SESSION_ADMIN_ADDRESS: must be"),
        (FILES, {}, f"--tls-cert {MISSING}: No such file or directory"),
    ],
)
def test_run_says_what_is_wrong_in_one_line(
    flags: tuple[str, ...], env: dict[str, str], says: str, tmp_path: Path
) -> None:
    words = ("run", PROBE, "--port", "0", "--session-port", "0", "--no-traces")
    line = only_line(*words, "--data", str(tmp_path), *flags, env=env)
    assert line.partition(": ")[2].startswith(says)
