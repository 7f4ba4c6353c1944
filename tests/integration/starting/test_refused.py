"""The command line: what does not start, and says why in one line."""

from pathlib import Path

import pytest
from tests.integration.starting.commands import REFUSED, hosting, refusal
from tests.requirements import requirement
from tests.support.apps import APPS, PROBE
from tests.support.processes import linkspan


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


@pytest.mark.parametrize("flag", ["--session-processes", "--workers"])
@pytest.mark.parametrize("number", ["0", "65", "two"])
def test_a_number_of_processes_that_makes_no_sense_stops_the_start(flag: str, number: str) -> None:
    assert "must be from 1 to 64" in refusal("run", flag, number)
