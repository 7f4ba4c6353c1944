"""Processes as tests start them: what they write is there for whoever looks."""

import subprocess
import sys

from tests.support.processes import ServiceProcess

LINES = 20_000
CODE = f"""
import sys
for number in range({LINES}):
    print("line", number, file=sys.stderr)
sys.stderr.flush()
print("ready grpc=127.0.0.1:1", flush=True)
sys.stdin.read()
print("the end", end="")
"""


def test_what_was_written_before_the_ready_line_is_there_with_it() -> None:
    popen = subprocess.Popen(
        [sys.executable, "-c", CODE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process = ServiceProcess(popen)
    try:
        assert process.wait_ready() == {"grpc": "127.0.0.1:1"}
        assert process.errors == [f"line {number}" for number in range(LINES)]
        assert popen.stdin is not None
        popen.stdin.close()
        assert process.wait() == 0
        assert process.output == ["ready grpc=127.0.0.1:1", "the end"]
    finally:
        process.kill()
