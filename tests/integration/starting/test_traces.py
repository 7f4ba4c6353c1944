"""The command line: what `linkspan run` keeps and shows of its own traces."""

import json
import shlex
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.integration.starting.commands import children_of, hosting, refusal
from tests.requirements import requirement
from tests.support.apps import PROBE
from tests.support.peer import session_at
from tests.support.processes import ServiceProcess, linkspan
from tests.support.waiting import wait_until


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
