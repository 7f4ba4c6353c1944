"""Child processes of these tests: started, ready by one line, ended by the end of their input.

A child prints one line when it is ready, works until its standard input ends, and exits with 0.
What it logs goes to its standard error, which has to stay empty.
"""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

HERE: Final = Path(__file__).parent
INSTRUMENT: Final = str(Path(sys.executable).with_name("opentelemetry-instrument"))
"""Starts a Python process with every published instrumentation that is installed."""
ROOT: Final = HERE.parents[1]
_TIMEOUT_SECONDS: Final = 40.0


@dataclass(frozen=True, slots=True)
class Child:
    """A process that is ready.

    Attributes:
        ready: its first line, without the line end.
        process: the process itself.
    """

    ready: str
    process: "subprocess.Popen[str]"


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without what OpenTelemetry reads, and ``extra``."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    return {**kept, "PYTHONPATH": str(ROOT), **extra}


@contextmanager
def child(
    script: str,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    instrumented: bool = False,
) -> Generator[Child]:
    """Run a script of this folder, with warnings as errors, while the block runs.

    With ``instrumented`` it is run by ``opentelemetry-instrument``.

    Raises:
        AssertionError: it did not get ready or did not end in time, failed, or logged anything.
    """
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            _command(script, *arguments, instrumented=instrumented),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment(env or {}),
        )
        killer = threading.Timer(_TIMEOUT_SECONDS, process.kill)
        killer.start()
        try:
            assert process.stdout is not None
            ready = process.stdout.readline().rstrip("\n")
            killer.cancel()
            assert ready, f"{script} did not get ready:\n{_text(log)}"
            yield Child(ready, process)
            _end(process, script, log)
        finally:
            killer.cancel()
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()


def _command(script: str, *arguments: str, instrumented: bool) -> list[str]:
    first = [INSTRUMENT] if instrumented else []
    return [*first, sys.executable, "-W", "error", str(HERE / script), *arguments]


def run(
    script: str,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    instrumented: bool = False,
) -> str:
    """Run a script of this folder to its end, and return what it printed.

    Raises:
        AssertionError: it failed, did not end in time, or logged anything.
    """
    printed, logged = run_and_log(script, *arguments, env=env, instrumented=instrumented)
    assert logged == "", f"{script} logged:\n{logged}"
    return printed


def run_and_log(
    script: str,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    instrumented: bool = False,
) -> tuple[str, str]:
    """Run a script of this folder to its end, and return what it printed and what it logged.

    Raises:
        AssertionError: it failed or did not end in time.
    """
    done = subprocess.run(
        _command(script, *arguments, instrumented=instrumented),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(env or {}),
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{script}: {done.stdout}\n{done.stderr}"
    return done.stdout, done.stderr


@contextmanager
def child_that_may_log(
    script: str, *arguments: str, env: Mapping[str, str] | None = None
) -> Generator[Child]:
    """As ``child``, of a script that is not held to anything: not its log, nor how it ends."""
    with subprocess.Popen(
        [sys.executable, str(HERE / script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(env or {}),
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield Child(process.stdout.readline().rstrip("\n"), process)
            process.stdin.close()
            process.wait(_TIMEOUT_SECONDS)
        finally:
            process.kill()


def _end(process: "subprocess.Popen[str]", script: str, log: IO[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        code = process.wait(_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        code = None
    logged = _text(log)
    assert (code, logged) == (0, ""), f"{script} ended with {code} and logged:\n{logged}"


def _text(log: IO[str]) -> str:
    log.seek(0)
    return log.read()
