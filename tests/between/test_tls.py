"""TLS between real processes: who is let in, who is not, and what new certificates do to what runs."""

import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from tests.requirements import requirement
from tests.support.apps import PROBE
from tests.support.certificates import Authority, Files
from tests.support.fleet import running_fleet
from tests.support.peer import Answer, Peer, peer_of, session_at
from tests.support.processes import EVERYTHING, ServiceProcess, linkspan
from tests.support.scrape import metrics_of, scrape
from tests.support.stack import Stack, running_stack
from tests.support.waiting import wait_until

GRPCURL = str(Path(sys.prefix) / "bin" / "grpcurl")
SERVICE = "linkspan.session.v1.SessionService"
PEERS = "spiffe://example.com/worker,operator.example.com,192.0.2.7"
WORKER = "spiffe://example.com/worker"
AT_ONCE = 50
METRICS = ("--metrics-port", "0")
PATIENT = ("--retry-for", "0.5")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another authority, which nobody here believes."""
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Files:
    return authority.issue("server", ("127.0.0.1", "localhost", "sessions.example.com"))


@pytest.fixture(scope="module")
def secure(
    authority: Authority, server: Files, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A worker and a session server that believe each other; whoever is named WORKER is let in."""
    with running_stack(
        tmp_path_factory.mktemp("secure"),
        session_arguments=(*server.flags, *METRICS, "--tls-peers", PEERS),
        worker_arguments=(*authority.issue("worker", (WORKER,)).flags, *METRICS),
    ) as running:
        yield running


def grpcurl(
    address: str, *flags: str, words: str = "list", seconds: int = 20
) -> "subprocess.CompletedProcess[str]":
    """Run it; it tries to connect for so long, which is how long it takes if it cannot."""
    command = [GRPCURL, "-connect-timeout", str(seconds), *flags, address, *words.split()]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@contextmanager
def worker_at(address: str, *arguments: str) -> Generator[tuple[Peer, ServiceProcess]]:
    with (
        linkspan("worker", "--session", address, "--port", "0", *PATIENT, *arguments) as worker,
        peer_of(worker.wait_ready()["mcp"]) as peer,
    ):
        yield peer, worker


def complaints(process: ServiceProcess) -> list[str]:
    return [line for line in process.errors if "no connection to a session server" in line]


def check_refused(answer: Answer, worker: ServiceProcess, words: str) -> None:
    """Check that a client gets an error in time, and the log one line that says why."""
    assert answer.status == 503, answer
    assert "retry-after" in answer.headers
    wait_until(lambda: bool(complaints(worker)), "the worker to say why")
    (line,) = complaints(worker)
    assert words in line, line
    assert not [line for line in worker.errors if "Traceback" in line]


# --- who is let in ---------------------------------------------------------------------------------


@requirement("tls.mutual")
@pytest.mark.parametrize("instrumentation", ["native", "contrib"])
def test_sessions_go_through_tls_by_tunnel_and_by_plain_rpcs(
    instrumentation: str, authority: Authority, server: Files, tmp_path: Path
) -> None:
    how = ("--grpc-instrumentation", instrumentation)
    with (
        running_stack(
            tmp_path,
            session_arguments=(*server.flags, "--tls-peers", WORKER, *how),
            worker_arguments=(*authority.issue("w", (WORKER,)).flags, *how),
        ) as stack,
        session_at(stack.mcp) as session,
    ):
        for _ in range(3):
            assert session.call("add", a=2, b=3).result["structuredContent"] == {"result": 5}
        assert httpx2.get(f"{stack.http}/readyz", timeout=20).status_code == 200


@requirement("tls.mutual")
def test_whoever_shows_no_certificate_or_a_wrong_one_is_refused(
    server: Files, authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    foreign = stranger.issue("foreign", (WORKER,), believes=authority)
    late = authority.issue("late", (WORKER,), ends_in=timedelta(seconds=-60))
    words = ("session", "--app", PROBE, "--port", "0", "--data", str(tmp_path), *server.flags)
    with linkspan(*words) as process:
        address = process.wait_ready()["grpc"]
        assert SERVICE in grpcurl(address, *authority.issue("good", (WORKER,)).grpcurl).stdout
        for flags in (
            ("-plaintext",),
            ("-insecure",),
            ("-cacert", str(server.ca)),
            foreign.grpcurl,
            late.grpcurl,
        ):
            refused = grpcurl(address, *flags, seconds=5)
            assert refused.returncode != 0, (flags, refused.stdout)
            assert SERVICE not in refused.stdout


@requirement("tls.peers")
def test_of_those_that_the_authority_knows_only_peers_are_let_in(
    secure: Stack, authority: Authority
) -> None:
    for name in ("operator.example.com", "192.0.2.7", WORKER):
        operator = authority.issue("operator", (name, "more.example.com"))
        assert SERVICE in grpcurl(secure.grpc, *operator.grpcurl).stdout
    for name in ("other.example.com", "spiffe://example.com/other", "127.0.0.1"):
        other = authority.issue("other", (name,))
        for words in ("list", f"{SERVICE}/ListSessions", "grpc.health.v1.Health/Check"):
            refused = grpcurl(secure.grpc, *other.grpcurl, words=words)
            assert refused.returncode != 0, refused.stdout
            assert "PermissionDenied" in refused.stderr, refused.stderr


@requirement("tls.peers")
@pytest.mark.parametrize("instrumentation", ["native", "contrib"])
def test_a_worker_that_is_no_peer_gets_nowhere(
    instrumentation: str, secure: Stack, authority: Authority
) -> None:
    other = authority.issue("no-peer", ("other.example.com",))
    how = ("--grpc-instrumentation", instrumentation)
    with worker_at(secure.grpc, *other.flags, *how) as (peer, worker):
        answer = peer.initialize()
        assert answer.status == 503, answer
        assert "none that" not in json.dumps(answer.messages)
        wait_until(lambda: bool(complaints(worker)), "the worker to say why")
        (line,) = complaints(worker)
        assert "none that this session server lets in" in line


@requirement("tls.mutual")
def test_whoever_connects_and_says_nothing_is_cut_off(secure: Stack) -> None:
    host, _, port = secure.grpc.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=45) as silent:
        assert silent.recv(1) == b""


@requirement("tls.expiry")
def test_for_how_long_a_certificate_is_good_is_a_metric(secure: Stack) -> None:
    year_seconds = 365 * 24 * 3600
    for name, process in (("session", secure.session), ("worker", secure.worker)):
        shown = scrape(metrics_of(process))
        left = shown.value(f"linkspan_{name}_certificate_left_seconds")
        assert left is not None
        assert year_seconds - 600 < left <= year_seconds


@requirement("tls.old-versions")
def test_tls_older_than_1_2_is_refused(secure: Stack, authority: Authority) -> None:
    files = authority.issue("old", (WORKER,))
    host, _, port = secure.grpc.rpartition(":")
    command = [
        *("openssl", "s_client", "-connect", f"{host}:{port}", "-cipher", "ALL:@SECLEVEL=0"),
        *(
            "-CAfile",
            str(files.ca),
            "-cert",
            str(files.cert),
            "-key",
            str(files.key),
            "-alpn",
            "h2",
        ),
    ]
    spoken = {
        version: subprocess.run(
            [*command, version], input=b"", capture_output=True, timeout=30, check=False
        ).stdout
        for version in ("-tls1_1", "-tls1_2")
    }
    assert b"Cipher is (NONE)" in spoken["-tls1_1"]
    assert b"Cipher is (NONE)" not in spoken["-tls1_2"]


# --- what is wrong is said -------------------------------------------------------------------------


@requirement("tls.diagnosis")
def test_a_worker_without_tls_gets_one_clear_error_from_a_server_with_it(secure: Stack) -> None:
    with worker_at(secure.grpc) as (peer, worker):
        check_refused(peer.initialize(), worker, "it speaks TLS, and this process does not")
        assert peer.initialize().status == 503
        assert len(complaints(worker)) == 1


@requirement("tls.diagnosis")
def test_a_worker_with_tls_gets_one_clear_error_from_a_server_without_it(
    stack: Stack, server: Files
) -> None:
    with worker_at(stack.grpc, *server.flags) as (peer, worker):
        check_refused(peer.initialize(), worker, "it does not speak TLS; start it with --tls-cert")


@requirement("tls.diagnosis", "tls.mutual")
def test_a_worker_whose_certificate_is_refused_is_told_why(
    secure: Stack, authority: Authority, stranger: Authority
) -> None:
    foreign = stranger.issue("foreign-worker", (WORKER,), believes=authority)
    with worker_at(secure.grpc, *foreign.flags) as (peer, worker):
        check_refused(
            peer.initialize(), worker, "it refuses this process' certificate, which is of an"
        )


@requirement("tls.diagnosis", "tls.mutual")
def test_a_worker_does_not_believe_a_server_of_another_authority_or_name(
    secure: Stack, authority: Authority, stranger: Authority
) -> None:
    credulous = authority.issue("credulous", (WORKER,), believes=stranger)
    with worker_at(secure.grpc, *credulous.flags) as (peer, worker):
        check_refused(peer.initialize(), worker, "its certificate is not believed: unable to get")
    named = (*authority.issue("w2", (WORKER,)).flags, "--tls-server-name", "other.example.com")
    with worker_at(secure.grpc, *named) as (peer, worker):
        check_refused(peer.initialize(), worker, "--tls-server-name says which name to look for")


@requirement("tls.names")
def test_the_name_to_look_for_can_be_another_than_the_address(
    authority: Authority, tmp_path: Path
) -> None:
    server = authority.issue("elsewhere", ("sessions.example.com",))
    name = ("--tls-server-name", "sessions.example.com")
    with running_stack(
        tmp_path,
        session_arguments=server.flags,
        worker_arguments=(*authority.issue("w3", (WORKER,)).flags, *name),
    ) as stack:
        with session_at(stack.mcp) as session:
            assert session.call("add", a=1, b=1).status == 200
        listed = ("sessions", "list", "--server", stack.grpc, *server.flags)
        with linkspan(*listed, *name) as process:
            assert process.wait() == 0, process.errors
        with linkspan(*listed) as process:
            assert process.wait() == 1
            (line,) = process.errors
            assert "its certificate is not believed" in line
        with linkspan("sessions", "list", "--server", stack.grpc) as process:
            assert process.wait() == 1
            (line,) = process.errors
            assert "it speaks TLS, and this process does not" in line


# --- several, and new ones -------------------------------------------------------------------------


@requirement("tls.mutual")
def test_session_servers_find_out_about_each_other_through_tls(
    authority: Authority, server: Files, tmp_path: Path
) -> None:
    """Who says that an owner cannot be reached is sent there once more, if that answers."""
    with running_fleet(
        f"sqlite:///{tmp_path / 'sessions.db'}",
        servers=2,
        app=EVERYTHING,
        session_arguments=server.flags,
    ) as fleet:
        mcp = fleet.add_worker(*authority.issue("w4", (WORKER,)).flags)
        with session_at(mcp) as session:
            assert session.call("add", a=1, b=1).status == 200
            (owner,) = {commit.owner for commit in fleet.commits()}
            (first,) = [each for each in fleet.servers if owner.startswith(each.address + "#")]
            (other,) = [each for each in fleet.servers if each is not first]
            asked = json.dumps({"sessionId": session.session_id, "unreachableOwner": owner})
            sent_on = subprocess.run(
                [GRPCURL, *server.grpcurl, "-d", asked, other.address, f"{SERVICE}/EndSession"],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            assert "SESSION_ELSEWHERE" in sent_on.stderr, sent_on
            assert any("it answers" in line for line in other.log)
            first.process.kill()
            assert session.call("add", a=2, b=3).result["structuredContent"] == {"result": 5}


@requirement("tls.reload")
def test_new_certificates_are_taken_while_calls_run_and_none_is_lost(
    authority: Authority, tmp_path: Path
) -> None:
    session_files = authority.issue("renewed-server")
    worker_files = authority.issue("renewed-worker", (WORKER,))
    with (
        running_stack(
            tmp_path,
            app=PROBE,
            session_arguments=session_files.flags,
            worker_arguments=worker_files.flags,
        ) as stack,
        session_at(stack.mcp) as session,
    ):
        shown = certificate_of(stack, worker_files)
        answers: list[Answer | Exception] = []

        def hold(number: int) -> None:
            with peer_of(stack.mcp, session_id=session.session_id) as peer:
                try:
                    answers.append(peer.ask("probe/hold", {"name": f"call-{number}"}))
                except Exception as error:  # noqa: BLE001 - it is looked at below
                    answers.append(error)

        calls = [threading.Thread(target=hold, args=(number,)) for number in range(AT_ONCE)]
        for call in calls:
            call.start()
        for number in range(AT_ONCE):
            session.ask("probe/seen", {"name": f"call-{number}", "mark": "started"})
        session_files.replace_with(authority.issue("newer-server"))
        worker_files.replace_with(authority.issue("newer-worker", (WORKER,)))
        renewed = (stack.session, stack.worker)
        wait_until(lambda: all(said(each, "was read again") for each in renewed), "new ones")
        assert session.ask("tools/list").status == 200
        assert certificate_of(stack, worker_files) != shown
        assert answers == []
        for number in range(AT_ONCE):
            session.ask("probe/release", {"name": f"call-{number}"})
        for call in calls:
            call.join(timeout=30)
        assert [each for each in answers if not isinstance(each, Answer)] == []
        assert [
            each for each in answers if isinstance(each, Answer) and "result" in each.final
        ] == (answers)
        assert len(answers) == AT_ONCE


@requirement("tls.reload")
def test_a_worker_calls_with_its_new_certificate_from_then_on(
    authority: Authority, server: Files, tmp_path: Path
) -> None:
    files = authority.issue("changing", ("old.example.com",))
    with running_stack(
        tmp_path,
        session_arguments=(*server.flags, "--tls-peers", "new.example.com"),
        worker_arguments=(*files.flags, *PATIENT),
    ) as stack:
        with peer_of(stack.mcp) as peer:
            assert peer.initialize().status == 503
        files.replace_with(authority.issue("changed", ("new.example.com",)))
        wait_until(lambda: said(stack.worker, "was read again"), "the new certificate")
        with session_at(stack.mcp) as session:
            assert session.call("add", a=2, b=3).result["structuredContent"] == {"result": 5}


@requirement("tls.reload")
def test_an_authority_that_is_taken_out_is_refused_from_the_next_handshake_on(
    authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    server = authority.issue("turning")
    old = authority.issue("old-client")
    new = stranger.issue("new-client", believes=authority)
    with running_stack(
        tmp_path, session_arguments=server.flags, worker_arguments=authority.issue("w5").flags
    ) as stack:
        assert SERVICE in grpcurl(stack.grpc, *old.grpcurl).stdout
        assert grpcurl(stack.grpc, *new.grpcurl, seconds=5).returncode != 0
        server.ca.write_bytes(stranger.file.read_bytes())
        wait_until(lambda: said(stack.session, "was read again"), "the other authority")
        assert grpcurl(stack.grpc, *old.grpcurl, seconds=5).returncode != 0
        assert SERVICE in grpcurl(stack.grpc, *new.grpcurl).stdout


@requirement("tls.reload")
def test_a_bad_file_replaces_nothing_and_is_told_of_once(
    authority: Authority, tmp_path: Path
) -> None:
    server, worker = authority.issue("kept-server"), authority.issue("kept-worker", (WORKER,))
    with running_stack(
        tmp_path, session_arguments=server.flags, worker_arguments=worker.flags
    ) as stack:
        shown = certificate_of(stack, worker)
        server.cert.write_text("nothing of use")
        words = "holds no certificate in PEM; the certificate that was in use stays so"
        wait_until(lambda: said(stack.session, words), "the error")
        assert certificate_of(stack, worker) == shown
        with session_at(stack.mcp) as session:
            assert session.call("add", a=1, b=1).status == 200
        server.replace_with(authority.issue("mended-server"))
        wait_until(lambda: said(stack.session, "was read again"), "the good one")
        assert len([line for line in stack.session.errors if words in line]) == 1
        assert certificate_of(stack, worker) != shown


@requirement("tls.run")
def test_linkspan_run_has_tls_between_its_processes(
    authority: Authority, server: Files, tmp_path: Path
) -> None:
    ports = ("--port", "0", "--session-port", "0", "--no-traces", "--session-processes", "2")
    with linkspan("run", *ports, "--data", str(tmp_path), *server.flags) as process:
        addresses = process.wait_ready()
        with session_at(addresses["mcp"]) as session:
            assert session.call("add", a=2, b=3).result["structuredContent"] == {"result": 5}
        told = next(line for line in process.output if line.strip().startswith("grpcurl "))
        words = told.split()[2:]
        done = subprocess.run(
            [GRPCURL, *words], capture_output=True, text=True, timeout=30, check=False
        )
        assert SERVICE in done.stdout, done.stderr
        plain = [GRPCURL, "-plaintext", addresses["grpc"], "list"]
        assert subprocess.run(plain, capture_output=True, timeout=30, check=False).returncode != 0


def said(process: ServiceProcess, words: str) -> bool:
    return any(words in line for line in process.errors)


def certificate_of(stack: Stack, files: Files) -> str:
    """Return the certificate that the session server shows now."""
    context = ssl.create_default_context(cafile=str(files.ca))
    context.load_cert_chain(files.cert, files.key)
    context.set_alpn_protocols(["h2"])
    host, _, port = stack.grpc.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=host) as wrapped,
    ):
        shown = wrapped.getpeercert(binary_form=True)
    assert shown is not None
    return ssl.DER_cert_to_PEM_cert(shown)
