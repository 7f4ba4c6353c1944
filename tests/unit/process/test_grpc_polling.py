"""gRPC is told how to wait before it is loaded, and takes it."""

import os
import subprocess
import sys

import pytest

from linkspan_process.grpc_polling import wait_in_one_thread


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (None, "-event_engine_client,-event_engine_listener"),
        ("", "-event_engine_client,-event_engine_listener"),
        ("event_engine_client", "event_engine_client,-event_engine_listener"),
        ("-event_engine_listener", "-event_engine_listener,-event_engine_client"),
        (" tcp_rcv_lowat , ", "tcp_rcv_lowat,-event_engine_client,-event_engine_listener"),
    ],
)
def test_what_the_operator_has_switched_stays(said: str | None, expected: str) -> None:
    environ = {} if said is None else {"GRPC_EXPERIMENTS": said}
    wait_in_one_thread(environ)
    assert environ == {"GRPC_EXPERIMENTS": expected}


def test_this_grpc_knows_the_switches() -> None:
    environ = dict(os.environ)
    wait_in_one_thread(environ)
    program = "import grpc; grpc.insecure_channel('127.0.0.1:1').close()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environ | {"GRPC_VERBOSITY": "ERROR"},
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert "Unknown experiment" not in done.stderr
