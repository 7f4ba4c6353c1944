"""The command line: what it refuses in one line, and that what it starts lives and ends together."""

import asyncio
import json
import os
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.requirements import requirement
from tests.support.apps import APPS, PROBE
from tests.support.mcp_http import call, http_session
from tests.support.peer import Peer, modern, session_at
from tests.support.processes import EVERYTHING, ServiceProcess, linkspan
from tests.support.session_calls import TIMEOUT_SECONDS, service_at
from tests.support.waiting import wait_until

from linkspan.session.v1.session_service_pb2 import (
    HandleRequestRequest,
    ListSessionsRequest,
    Post,
)

REFUSED = 2
BROKEN = 1


def refusal(*arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Run a command that must not start, and return its only line for people."""
    with linkspan(*arguments, env=env) as process:
        status = process.wait()
        assert status == REFUSED, process.errors
        assert process.output == []
        (line,) = process.errors
    assert line.startswith(f"linkspan {arguments[0]}: ")
    return line


def hosting(command: str, app: str, *, data: Path) -> tuple[str, ...]:
    """Write a command that hosts an app on free ports."""
    if command == "session":
        return ("session", "--app", app, "--port", "0", "--data", str(data))
    ports = ("--port", "0", "--session-port", "0", "--traces-port", "0")
    return ("run", app, *ports, "--data", str(data))


@pytest.fixture
def taken() -> Iterator[str]:
    """A port that somebody else has."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield str(listener.getsockname()[1])


# --- what does not start ---------------------------------------------------------------------------


@requirement("cli.app-missing")
@pytest.mark.parametrize("command", ["session", "run"])
def test_an_app_that_does_not_import_stops_the_start(command: str, tmp_path: Path) -> None:
    faulty = str(APPS / "faulty.py")
    with linkspan(*hosting(command, faulty, data=tmp_path)) as process:
        assert process.wait() == REFUSED
        (line,) = process.errors
    assert line == (
        f"linkspan session: --app {faulty}: cannot be imported: "
        f"ValueError: out of order in two lines ({faulty}:3)"
    )


@requirement("cli.app-missing")
def test_an_app_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    line = refusal(*hosting("session", "no/such/file.py", data=tmp_path))
    assert line == "linkspan session: --app no/such/file.py: there is no such file"


@requirement("cli.app-wrong")
def test_an_app_that_is_no_server_stops_the_start(tmp_path: Path) -> None:
    line = refusal(*hosting("session", str(APPS / "wrong.py") + ":async_factory", data=tmp_path))
    assert "it must be an MCPServer, a low-level Server, a FastMCP object" in line


@requirement("cli.app-missing")
def test_a_session_server_without_an_app_is_told_how_to_name_one() -> None:
    assert refusal("session") == (
        "linkspan session: name the MCP server to host: --app path/to/server.py:mcp"
    )


@requirement("cli.port-in-use")
def test_a_port_in_use_stops_the_start(taken: str, tmp_path: Path) -> None:
    words = f"cannot serve on 127.0.0.1:{taken}: Address already in use; choose another port with"
    data = ("--data", str(tmp_path))
    assert refusal("worker", "--port", taken) == f"linkspan worker: {words} --port"
    session = ("session", "--app", PROBE, *data)
    assert refusal(*session, "--port", taken) == f"linkspan session: {words} --port"
    run = ("run", PROBE, *data)
    assert refusal(*run, "--port", taken, "--session-port", "0") == f"linkspan run: {words} --port"
    assert refusal(*run, "--port", "0", "--session-port", taken) == (
        f"linkspan run: {words} --session-port"
    )


@requirement("cli.port-in-use")
def test_a_host_that_is_not_this_machine_stops_the_start(tmp_path: Path) -> None:
    host = "192.0.2.1"  # for documentation (RFC 5737): nobody has it
    where = ("--host", host, "--port", "0")
    assert f"cannot serve on {host}:0: " in refusal("worker", *where, "--insecure-no-auth")
    session = ("session", "--app", PROBE, "--data", str(tmp_path))
    assert f"cannot serve on {host}:0: " in refusal(*session, *where, "--insecure-no-tls")


@requirement("cli.bad-setting")
@pytest.mark.parametrize("command", ["run", "session", "worker"])
@pytest.mark.parametrize("name", ["LINKSPAN_PORT", "LINKSPAN_SESION_PORT"])
def test_a_variable_that_looks_like_a_setting_stops_the_start(command: str, name: str) -> None:
    says = f"linkspan {command}: {name} is not a setting; the settings start with LINKSPAN_SESSION_"
    assert refusal(command, env={name: "8080"}).startswith(says)


@requirement("cli.bad-setting")
@pytest.mark.parametrize(
    ("command", "name", "value", "says"),
    [
        ("worker", "LINKSPAN_WORKER_PROT", "1", "LINKSPAN_WORKER_PROT is not a setting;"),
        ("worker", "LINKSPAN_WORKER_PORT", "http", "LINKSPAN_WORKER_PORT: must be a port"),
        ("session", "LINKSPAN_SESSION_APPP", "x", "LINKSPAN_SESSION_APPP is not a setting;"),
        ("session", "LINKSPAN_SESSION_MAX_BACKLOG", "0", "LINKSPAN_SESSION_MAX_BACKLOG: must be"),
        ("run", "LINKSPAN_WORKER_PROT", "1", "LINKSPAN_WORKER_PROT is not a setting;"),
        ("run", "LINKSPAN_SESSION_LOG_LEVEL", "loud", "LINKSPAN_SESSION_LOG_LEVEL: must be one"),
        ("worker", "OTEL_EXPORTER_OTLP_PROTOCOL", "x", "OTEL_EXPORTER_OTLP_PROTOCOL='x' cannot"),
    ],
)
def test_an_unknown_or_bad_variable_stops_the_start(
    command: str, name: str, value: str, says: str
) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", name: value}
    arguments = ("--port", "0") if command == "worker" else ()
    assert refusal(command, *arguments, env=env).startswith(f"linkspan {command}: {says}")


@requirement("cli.bad-setting")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("worker", "--port", "http"), "--port: must be a port from 0 to 65535, not 'http'"),
        (("worker", "--comment-every", "0"), "--comment-every: must be seconds"),
        (("session", "--app", PROBE, "--max-backlog", "lots"), "--max-backlog: must be bytes"),
        (("run", "--port", "http"), "argument --port: must be a port from 0 to 65535"),
        (("run", "--log-level", "loud"), "argument --log-level: invalid choice: 'loud'"),
        (("run", "one.py", "two.py"), "unrecognized arguments: two.py"),
        (("worker", "--prot", "1"), "unrecognized arguments: --prot 1"),
        (("worker", "--por", "1"), "unrecognized arguments: --por 1"),
        (("run", "--prot", "1"), "unrecognized arguments: --prot"),
        (("run", "--session", "a:1"), "unrecognized arguments: --session"),
        (("run", "insecure-no-auth", "x"), "unrecognized arguments: x"),
        (
            ("run", "--insecure-no-auth"),
            "as LINKSPAN_WORKER_INSECURE_NO_AUTH; see linkspan run --help",
        ),
        (
            ("run", "--host=0.0.0.0"),
            "as LINKSPAN_WORKER_HOST or LINKSPAN_SESSION_HOST",
        ),
    ],
)
def test_an_unknown_or_bad_flag_stops_the_start(arguments: tuple[str, ...], says: str) -> None:
    with linkspan(*arguments) as process:
        assert process.wait() == REFUSED
        (line,) = process.errors
    assert line.startswith("linkspan")
    assert says in line


@requirement("cli.bad-setting")
def test_data_that_is_no_folder_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    line = refusal(*hosting("session", PROBE, data=file))
    assert line.startswith(f"linkspan session: cannot open the session store {file}")


@pytest.mark.parametrize("command", [(), ("run",), ("session",), ("worker",)])
def test_help_is_told_on_standard_output(command: tuple[str, ...]) -> None:
    with linkspan(*command, "--help") as process:
        assert process.wait() == 0
        assert process.errors == []
        assert process.output[0].startswith("usage: linkspan")


def test_no_command_at_all_is_told_where_help_is() -> None:
    with linkspan() as process:
        assert process.wait() == REFUSED
        (line,) = process.errors
    assert line.endswith("see linkspan --help")


# --- what lives and ends together ------------------------------------------------------------------


def all_children_of(process: ServiceProcess) -> list[tuple[str, int]]:
    """Find the processes below `linkspan run`: what they are, and their ids."""
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    )
    found: list[tuple[str, int]] = []
    for line in listing.stdout.splitlines():
        pid, parent, arguments = line.split(None, 2)
        if int(parent) == process.pid:
            # Between its fork and its exec, a child still has the arguments of its parent.
            names = {"session", "worker", "traces"} & set(arguments.split())
            found += [(name, int(pid)) for name in names]
    return found


def children_of(process: ServiceProcess) -> dict[str, int]:
    """Find the processes below `linkspan run` that has one of each, by what they are."""
    return dict(all_children_of(process))


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def nobody_serves(addresses: Mapping[str, str]) -> bool:
    """Tell whether all ports are closed."""
    urls = [addresses[name] for name in ("mcp", "traces")]
    for address in (addresses["grpc"], *(url.split("/")[2] for url in urls)):
        host, _, port = address.rpartition(":")
        with suppress(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=5).close()
            return False
    return True


@pytest.fixture
def running(tmp_path: Path) -> Iterator[ServiceProcess]:
    """`linkspan run`, ready."""
    with linkspan(*hosting("run", PROBE, data=tmp_path)) as process:
        yield process


@requirement("cli.stops-clean")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_and_exits_with_0(
    running: ServiceProcess, number: signal.Signals, tmp_path: Path
) -> None:
    addresses = running.wait_ready()
    told = "\n".join(running.output)
    assert running.output[-1] == "ready " + " ".join(
        f"{name}={addresses[name]}" for name in ("mcp", "grpc", "traces")
    )
    for each in (PROBE, *addresses.values(), str(tmp_path), "grpcurl -plaintext"):
        assert each in told
    children = children_of(running)
    assert set(children) == {"session", "worker", "traces"}
    with session_at(addresses["mcp"]) as peer:
        assert peer.ask("probe/say", {"text": "hi"}).status == 200
    running.signal(number)
    assert running.wait() == 0
    assert nobody_serves(addresses)
    assert not any(map(is_running, children.values()))
    assert not any("Traceback" in line for line in running.errors)


@requirement("cli.stops-clean")
def test_a_signal_before_it_is_ready_ends_it_too(running: ServiceProcess) -> None:
    wait_until(lambda: bool(children_of(running)), "the first child")
    children = children_of(running)
    running.signal(signal.SIGINT)
    assert running.wait() == 0
    assert running.output == []
    assert not any(map(is_running, children.values()))
    assert not any("Traceback" in line for line in running.errors)


@requirement("cli.stops-clean")
@pytest.mark.parametrize(
    ("command", "number"), [("session", signal.SIGINT), ("worker", signal.SIGTERM)]
)
def test_one_half_by_itself_ends_cleanly(
    command: str, number: signal.Signals, tmp_path: Path
) -> None:
    own = ("--app", PROBE, "--data", str(tmp_path)) if command == "session" else ()
    with linkspan(command, *own, "--port", "0") as process:
        process.wait_ready()
        process.signal(number)
        assert process.wait() == 0
        assert not any("Traceback" in line for line in process.errors)


@requirement("cli.child-dies")
@pytest.mark.parametrize(
    ("victim", "number"),
    [("session", signal.SIGKILL), ("worker", signal.SIGKILL), ("worker", signal.SIGTERM)],
)
def test_if_a_child_dies_the_other_is_stopped_and_the_command_fails(
    running: ServiceProcess, victim: str, number: signal.Signals
) -> None:
    addresses = running.wait_ready()
    children = children_of(running)
    os.kill(children[victim], number)
    assert running.wait() == BROKEN
    assert not any(map(is_running, children.values()))
    assert nobody_serves(addresses)
    (line,) = [line for line in running.errors if line.startswith("linkspan run: ")]
    expected = f"of signal {number.name}" if number is signal.SIGKILL else "with status 0"
    assert f"ended by itself, {expected}" in line
    assert not any("Traceback" in line for line in running.errors)


@requirement("cli.child-dies")
def test_serving_goes_on_without_the_trace_backend(running: ServiceProcess) -> None:
    addresses = running.wait_ready()
    os.kill(children_of(running)["traces"], signal.SIGKILL)
    wait_until(lambda: any("trace backend ended" in line for line in running.errors), "its words")
    with session_at(addresses["mcp"]) as peer:
        assert peer.ask("probe/say", {"text": "hi"}).status == 200
    assert running.stop() == 0


def shown_traces(data: Path) -> list[dict[str, Any]]:
    """Return what `linkspan traces list` shows."""
    with linkspan("traces", "list", "--data", str(data), "--json") as process:
        assert process.wait() == 0, process.errors
        return [json.loads(line) for line in process.output]


@requirement("cli.run-traces")
def test_what_it_serves_is_a_trace_that_it_shows(running: ServiceProcess, tmp_path: Path) -> None:
    addresses = running.wait_ready()
    with session_at(addresses["mcp"]) as peer:
        assert peer.ask("probe/say", {"text": "hi"}).status == 200
    services = {"linkspan-worker", "linkspan-session"}  # of which each sends its spans by itself
    wait_until(
        lambda: any(
            each["method"] == "probe/say" and set(each["services"]) == services
            for each in shown_traces(tmp_path)
        ),
        "the trace",
    )


@requirement("cli.run-traces")
@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (("--no-traces",), {}),
        ((), {"OTEL_TRACES_EXPORTER": "none"}),
        ((), {"OTEL_SDK_DISABLED": "true"}),
        ((), {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}),
    ],
)
def test_traces_are_kept_elsewhere_or_nowhere_if_that_is_said(
    arguments: tuple[str, ...], env: dict[str, str], tmp_path: Path
) -> None:
    with linkspan(*hosting("run", PROBE, data=tmp_path), *arguments, env=env) as process:
        assert "traces" not in process.wait_ready()
        assert set(children_of(process)) == {"session", "worker"}
        assert process.stop() == 0


@requirement("cli.run-traces")
def test_a_trace_port_that_is_taken_stops_the_start_only_if_it_was_asked_for(
    taken: str, tmp_path: Path
) -> None:
    command = ("run", PROBE, "--port", "0", "--session-port", "0", "--data", str(tmp_path))
    assert "--traces-port" in refusal(*command, "--traces-port", taken)
    with linkspan(*command, env={"LINKSPAN_TRACES_PORT": taken}) as process:
        assert not process.wait_ready()["traces"].endswith(f":{taken}")
        assert process.stop() == 0


async def owners(target: str) -> set[str]:
    """Return the addresses of the session servers that have any session in memory."""
    async with service_at(target) as service:
        page = await service.ListSessions(ListSessionsRequest(), timeout=TIMEOUT_SECONDS)
    return {each.owner_address for each in page.sessions}


@requirement("cli.cores")
def test_several_session_servers_and_workers_serve_the_same_sessions_on_one_port(
    tmp_path: Path,
) -> None:
    several = ("--session-processes", "2", "--workers", "2")
    with linkspan(*hosting("run", PROBE, data=tmp_path), *several) as process:
        addresses = process.wait_ready()
        mcp = addresses["mcp"]
        names = sorted(name for name, _ in all_children_of(process))
        assert names == ["session", "session", "traces", "worker", "worker"]
        with ExitStack() as opened:
            first, *_ = [opened.enter_context(session_at(mcp)) for _ in range(20)]
            assert len(asyncio.run(owners(addresses["grpc"]))) == 2  # not all came to the same one
            for _ in range(8):  # each on a connection of its own, which either worker may get
                with closing(Peer(mcp, session_id=first.session_id)) as again:
                    assert again.ask("probe/say", {"text": "hi"}).status == 200
        assert process.stop() == 0


@pytest.mark.parametrize("flag", ["--session-processes", "--workers"])
@pytest.mark.parametrize("number", ["0", "65", "two"])
def test_a_number_of_processes_that_makes_no_sense_stops_the_start(flag: str, number: str) -> None:
    assert "must be from 1 to 64" in refusal("run", flag, number)


@requirement("cli.child-dies")
def test_the_children_do_not_outlive_the_command_even_if_it_is_killed(
    running: ServiceProcess,
) -> None:
    addresses = running.wait_ready()
    children = children_of(running)
    running.signal(signal.SIGKILL)
    try:
        running.wait()
        wait_until(lambda: nobody_serves(addresses), "the end of both servers")
        wait_until(lambda: not any(map(is_running, children.values())), "the end of both children")
    finally:
        for pid in children.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_what_the_hosted_server_prints_is_passed_on_however_long_a_line_is(tmp_path: Path) -> None:
    with linkspan(*hosting("run", str(APPS / "chatty.py"), data=tmp_path)) as process:
        process.wait_ready()
        assert "x" * 1_000_000 in process.output
        assert "ready to talk" in process.output
        process.signal(signal.SIGINT)
        assert process.wait() == 0


def test_on_ipv6_the_addresses_are_written_with_brackets(tmp_path: Path) -> None:
    env = {"LINKSPAN_SESSION_HOST": "::1", "LINKSPAN_WORKER_HOST": "::1"}
    with linkspan(*hosting("run", str(APPS / "kinds.py"), data=tmp_path), env=env) as process:
        addresses = process.wait_ready()
        assert addresses["grpc"].startswith("[::1]:")
        assert addresses["mcp"].startswith("http://[::1]:")
        with session_at(addresses["mcp"]) as peer:
            assert "5" in peer.call("add", a=2, b=3).result["content"][0]["text"]


@pytest.mark.parametrize("attribute", ["factory", "fastmcp"])
def test_each_kind_of_server_is_hosted(attribute: str, tmp_path: Path) -> None:
    async def answer_of(target: str) -> str:
        message = modern("tools/call", {"name": "add", "arguments": {"a": 2, "b": 3}})
        request = HandleRequestRequest(post=Post(message=json.dumps(message)))
        async with service_at(target) as service:
            (event,) = [each async for each in service.HandleRequest(request, timeout=20)]
        text: str = json.loads(event.message.json)["result"]["content"][0]["text"]
        return text

    app = str(APPS / "kinds.py") + f":{attribute}"
    with linkspan(*hosting("session", app, data=tmp_path)) as process:
        assert asyncio.run(answer_of(process.wait_ready()["grpc"])) == "5"


@requirement("cli.stops-clean")
@pytest.mark.parametrize("command", [("run",), ("session", "--app", EVERYTHING), ("worker",)])
def test_ctrl_c_before_anything_serves_prints_no_stack_trace(command: tuple[str, ...]) -> None:
    with linkspan(*command, "--port", "0") as process:
        process.signal(signal.SIGINT)
        process.wait()
        # The interpreter itself tells of a signal that comes before any code of ours has run.
        assert not any("linkspan" in line for line in process.errors if "File" in line)


def test_the_greeting_leads_to_a_first_trace(tmp_path: Path) -> None:
    words = ("--port", "0", "--session-port", "0", "--traces-port", "0", "--data", str(tmp_path))
    with linkspan("run", *words) as process:
        process.wait_ready()
        told = "\n".join(process.output).replace("\\\n", "")
        call = told[told.index("  curl ") :].partition("\n\n")[0]
        _, url, *options = shlex.split(call)
        given = list(zip(options[::2], options[1::2], strict=True))
        headers = dict(value.split(": ", 1) for flag, value in given if flag == "-H")
        (body,) = (value for flag, value in given if flag == "-d")
        answer = httpx2.post(url, headers=headers, content=body, timeout=20)
        assert answer.json()["result"]["structuredContent"] == {"result": 5}
        (show,) = (line for line in process.output if "traces show last" in line)
        name, *words_of_show = shlex.split(show)
        assert name == "linkspan"

        def shown() -> bool:
            with linkspan(*words_of_show) as show:
                return show.wait() == 0 and show.output[0].startswith("tools/call add")

        wait_until(shown, "the trace of the call")


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])  # noqa: S104
def test_a_session_server_that_others_reach_says_that_it_asks_nobody(
    host: str, warned: bool, tmp_path: Path
) -> None:
    where = ("--host", host, "--port", "0", "--advertise", "192.0.2.1:50051", "--insecure-no-tls")
    with linkspan("session", "--app", PROBE, "--data", str(tmp_path), *where) as process:
        process.wait_ready()
        assert process.stop() == 0
        assert said(process, "nobody is asked who they are") == warned


@requirement("cli.stops-clean")
def test_a_second_ctrl_c_waits_for_nothing(tmp_path: Path) -> None:
    ports = ("--port", "0", "--session-port", "0")
    patient = {"LINKSPAN_SESSION_DRAIN_TIMEOUT": "90", "LINKSPAN_WORKER_DRAIN_TIMEOUT": "90"}
    with linkspan("run", *ports, "--data", str(tmp_path), env=patient) as process:
        addresses = process.wait_ready()
        with (
            http_session(addresses["mcp"]) as session,
            session.stream(call("count", {"to": 1000, "every_seconds": 0.1})) as events,
        ):
            next(events)
            process.signal(signal.SIGINT)
            wait_until(lambda: said(process, "shutting down"), "the first to be heard")
            wait_until(lambda: said(process, "has 90 s to end"), "what it waits for to be told")
            process.signal(signal.SIGINT)
            process.wait()
        assert nobody_serves(addresses)
        assert not said(process, "ended by itself")


def said(process: ServiceProcess, words: str) -> bool:
    return any(words in line for line in process.errors)
