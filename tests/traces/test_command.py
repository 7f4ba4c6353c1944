"""`linkspan traces` as people use it: real processes, a real backend, pipes and terminals."""

import json
import os
import pty
import select
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.requirements import requirement
from tests.support.processes import REPOSITORY, clean_environ, linkspan
from tests.traces.backend import Backend, new_id, running_backend, span

from linkspan_cli.traces.table import row
from linkspan_cli.traces.times import took
from linkspan_cli.traces.waterfall import Paint

Told = tuple[int, list[str], list[str]]


def traces(*words: str) -> Told:
    """Run `linkspan traces` without a terminal, to its end."""
    with linkspan("traces", *words) as process:
        return process.wait(), process.output, process.errors


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Backend, str]]:
    """A backend with one call of three spans, and the call's id."""
    trace = new_id(16)
    root = span(trace, "mcp.request", kind="SERVER", took=100, mcp__method__name="tools/call")
    below = span(trace, "handle", parent=root, kind="SERVER", start=20, took=60)
    tool = span(
        trace, "tools/call add", parent=below, start=30, took=40, error="x", mcp__tool__name="add"
    )
    with running_backend(tmp_path_factory.mktemp("shop")) as backend:
        backend.send(root, service="worker")
        backend.send(below, tool, service="session")
        yield backend, trace.hex()


@requirement("traces.terminal")
def test_the_list_names_each_trace(shop: tuple[Backend, str]) -> None:
    backend, trace_id = shop
    status, output, errors = traces("list", "--url", backend.url)
    assert (status, errors) == (0, [])
    assert output[0].split() == ["TRACE", "BEGAN", "TOOK", "SPANS", "STATE", "WHAT"]
    (line,) = output[1:]
    assert line.startswith(trace_id)
    assert line.endswith("error               tools/call add (worker, session)")
    assert "\x1b" not in line


def test_the_backend_is_found_by_its_folder(shop: tuple[Backend, str]) -> None:
    backend, trace_id = shop
    status, output, _ = traces("list", "--data", str(backend.data), "--json")
    assert status == 0
    assert json.loads(output[0])["trace_id"] == trace_id


def test_a_search_that_finds_nothing_says_so(shop: tuple[Backend, str]) -> None:
    backend, _ = shop
    told = traces("list", "--url", backend.url, "--tool", "echo", "--min-ms", "3")
    assert told == (0, [], ["no such traces"])


@requirement("traces.terminal")
@pytest.mark.parametrize("wanted", ["whole", "cut", "last"])
def test_the_waterfall_is_nested_and_to_scale(shop: tuple[Backend, str], wanted: str) -> None:
    backend, trace_id = shop
    words = {"whole": trace_id, "cut": trace_id[:6].upper(), "last": "last"}[wanted]
    status, output, errors = traces("show", words, "--url", backend.url)
    assert (status, errors) == (0, [])
    assert output[0] == f"tools/call add  trace {trace_id}"
    rows = output[output.index("") + 1 :]
    assert [row[:20].rstrip() for row in rows] == [
        "mcp.request",
        "  handle",
        "    ✗ tools/call add",
    ]
    bars = [row.split(" ms  ", 1)[1] for row in rows]
    whole = len(bars[0])
    assert set(bars[0]) == {"█", "▒"}
    for bar, start, end in ((bars[1], 0.2, 0.8), (bars[2], 0.3, 0.7)):
        blocks = bar.lstrip(" ·")
        assert abs((len(bar) - len(blocks)) / whole - start) < 0.03
        assert abs(len(bar) / whole - end) < 0.03
    assert "·" in bars[1]  # from the worker to the session server


def test_show_prints_json_for_programs(shop: tuple[Backend, str]) -> None:
    backend, trace_id = shop
    _, output, _ = traces("show", trace_id, "--json", "--url", backend.url)
    (line,) = output
    assert [each["depth"] for each in json.loads(line)["spans"]] == [0, 1, 2]


@requirement("traces.stitch")
def test_a_trace_that_does_not_stitch_is_said_to(shop: tuple[Backend, str], tmp_path: Path) -> None:
    trace = new_id(16)
    with running_backend(tmp_path) as backend:
        backend.send(span(trace, "alone", parent=b"lostlost"))
        _, output, _ = traces("list", "--url", backend.url)
        *_, state, name, service = output[1].split()
        assert state in {"arriving", "unstitched"}  # by how long that took
        assert (name, service) == ("alone", "(svc)")
        _, output, _ = traces("show", trace.hex(), "--url", backend.url)
        assert output[1].split("  ")[1] == "1 span"
        said = f": the parent of alone of svc, {b'lostlost'.hex()}, has not come"
        (line,) = (line for line in output if line.endswith(said))
        arriving = "(spans of other processes may yet come)" in output
        assert line.startswith("does not stitch yet:" if arriving else "does not stitch:")
        assert any(line.startswith("[no parent] alone") for line in output)


@pytest.mark.parametrize(
    ("stitch", "arriving", "word"),
    [
        ("whole", False, "ok"),
        ("outside", False, "no caller"),
        ("broken", True, "arriving"),
        ("broken", False, "unstitched"),
    ],
)
def test_the_list_says_whether_a_trace_stitches(stitch: str, arriving: bool, word: str) -> None:
    trace = {
        "trace_id": "ab" * 16,
        "start_nanos": "0",
        "duration_nanos": 1,
        "spans": 1,
        "status": "ok",
        "open_spans": 0,
        "stitch": stitch,
        "arriving": arriving,
        "method": "",
        "tool": "",
        "name": "work",
        "services": ["svc"],
    }
    assert row(trace, Paint(on=False)).endswith(f"  {word.ljust(18)}  work (svc)")


@pytest.mark.parametrize(
    ("words", "status", "error"),
    [
        (("show", "0" * 32), 1, "there is no such trace; see `list`"),
        (("show", "nonsense"), 2, "a trace id is up to 32 hex digits, or `last`, not 'nonsense'"),
        (("list", "--min-ms", "-1"), 1, "min_ms must be a number of milliseconds"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    shop: tuple[Backend, str], words: tuple[str, ...], status: int, error: str
) -> None:
    backend, _ = shop
    told = traces(*words, "--url", backend.url)
    assert told == (status, [], [f"linkspan traces: {error}"])


def test_a_mistyped_id_is_answered_with_the_similar_one(shop: tuple[Backend, str]) -> None:
    backend, trace_id = shop
    last = "0" if trace_id[-1] != "0" else "1"
    _, _, errors = traces("show", trace_id[:-1] + last, "--url", backend.url)
    assert errors == [f"linkspan traces: there is no such trace; did you mean {trace_id}?"]


def test_an_id_that_is_cut_too_short_is_answered_with_the_candidates(tmp_path: Path) -> None:
    ids = ["ab" + "1" * 30, "ab" + "2" * 30]
    with running_backend(tmp_path) as backend:
        for each in ids:
            backend.send(span(bytes.fromhex(each)))
        status, _, errors = traces("show", "ab", "--url", backend.url)
    assert (status, errors) == (
        1,
        [f"linkspan traces: several traces begin so: {ids[0]}, {ids[1]}"],
    )


@pytest.mark.parametrize("action", [("list",), ("show", "last"), ("tail",)])
def test_a_backend_that_is_not_there_is_said_in_one_line(action: tuple[str, ...]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        status, _, errors = traces(*action, "--url", url)
    assert status == 1
    (line,) = errors
    assert line.startswith(f"linkspan traces: nothing listens at {url}; start `linkspan run`")


@requirement("traces.live")
def test_tail_shows_what_comes_until_ctrl_c(tmp_path: Path) -> None:
    sent: list[str] = []
    with running_backend(tmp_path) as backend:
        command = [sys.executable, "-m", "linkspan_cli", "traces", "tail", "--url", backend.url]
        tailing = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**clean_environ(), "PYTHONUNBUFFERED": "1"},
            cwd=REPOSITORY,
        )
        try:
            assert tailing.stdout is not None
            assert tailing.stdout.readline().startswith("TRACE")
            # The line above comes before it watches: what comes too early for it, it never tells.
            ready: Sequence[object] = ()
            while not ready and len(sent) < 100:
                trace = new_id(16)
                sent.append(trace.hex())
                backend.send(span(trace, "came"))
                ready, _, _ = select.select([tailing.stdout], [], [], 0.2)
            assert ready
            assert tailing.stdout.readline().split()[0] in sent
            tailing.send_signal(signal.SIGINT)
            assert tailing.wait(timeout=40) == 130
            assert tailing.stderr is not None
            assert tailing.stderr.read() == ""
        finally:
            tailing.kill()
            tailing.communicate()


def test_whoever_closes_the_pipe_has_seen_enough(shop: tuple[Backend, str]) -> None:
    backend, _ = shop
    command = f"{sys.executable} -m linkspan_cli traces show last --url {backend.url} | head -1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        env=clean_environ(),
        cwd=REPOSITORY,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_terminal_has_colours_and_its_own_width(
    shop: tuple[Backend, str], no_color: str, coloured: bool
) -> None:
    backend, _ = shop
    environ = {**clean_environ(), "NO_COLOR": no_color, "COLUMNS": "90", "TERM": "xterm"}
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "linkspan_cli", "traces", "show", "last", "--url", backend.url],
        stdout=slave,
        env=environ,
        cwd=REPOSITORY,
    ) as process:
        os.close(slave)
        shown = b""
        try:
            while piece := os.read(master, 65536):
                shown += piece
        except OSError:  # the terminal's other end is closed
            pass
        os.close(master)
        assert process.wait(timeout=40) == 0
    text = shown.decode()
    assert ("\x1b[" in text) == coloured
    if not coloured:
        assert max(len(line) for line in text.splitlines() if "█" in line) <= 90


@pytest.mark.parametrize(
    ("nanos", "words"),
    [
        (0, "0"),
        (999, "999 ns"),
        (1_000, "1.00 µs"),
        (12_345_678, "12.3 ms"),
        (999_960_000, "1.00 s"),
        (59.5e9, "59.5 s"),
        (7.2e12, "2.00 h"),
    ],
)
def test_durations_have_three_digits(nanos: float, words: str) -> None:
    assert took(nanos) == words


def test_serve_says_where_it_is_and_ends_cleanly(tmp_path: Path) -> None:
    words = ("traces", "serve", "--data", str(tmp_path), "--port", "0", "--grpc-port", "0")
    with linkspan(*words) as process:
        addresses = process.wait_ready()
        assert sorted(addresses) == ["grpc", "traces"]
        assert (tmp_path / "traces.url").read_text() == addresses["traces"] + "\n"
        assert (tmp_path / "traces.db").stat().st_mode & 0o777 == 0o600
        assert process.stop() == 0


def test_what_cannot_be_served_is_said_in_one_line(
    shop: tuple[Backend, str], tmp_path: Path
) -> None:
    backend, _ = shop
    port = backend.url.rpartition(":")[2]
    grpc_port = backend.grpc.rpartition(":")[2]
    data = ("--data", str(tmp_path))
    for words, error in (
        (("--host", "0.0.0.0"), "--host: must be an address of this machine only"),  # noqa: S104
        (("--port", port), f"cannot serve on 127.0.0.1:{port}"),
        (("--port", "0", "--grpc-port", grpc_port), "choose another port with --grpc-port"),
    ):
        status, _, errors = traces("serve", *data, *words)
        assert status == 2
        assert error in errors[-1]


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "traces.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    status, _, errors = traces("serve", "--data", str(tmp_path), "--port", "0", "--grpc-port", "0")
    assert status == 2
    assert "a newer version of Linkspan made" in errors[-1]
