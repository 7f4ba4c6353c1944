"""Processes as tests start them: what they have written is there for whoever looks."""

import os
import subprocess
import sys

from tests.support.processes import ServiceProcess

ROUNDS = 200
CODE = """
import os, sys
print("ready grpc=127.0.0.1:1", flush=True)
for line in sys.stdin:
    print("asked for", line, end="", file=sys.stderr, flush=True)
    os.write(int(sys.argv[1]), b"x")
print("the end", end="")
"""


def test_what_was_written_before_an_answer_is_there_with_it() -> None:
    answers, answering = os.pipe()
    popen = subprocess.Popen(
        [sys.executable, "-c", CODE, str(answering)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=[answering],
    )
    os.close(answering)
    process = ServiceProcess(popen)
    try:
        assert process.wait_ready() == {"grpc": "127.0.0.1:1"}
        assert popen.stdin is not None
        for number in range(ROUNDS):
            print(number, file=popen.stdin, flush=True)
            assert os.read(answers, 1) == b"x"
            assert process.errors[-1:] == [f"asked for {number}"]
        popen.stdin.close()
        assert process.wait() == 0
        assert len(process.errors) == ROUNDS
        assert process.output == ["ready grpc=127.0.0.1:1", "the end"]
    finally:
        os.close(answers)
        process.kill()
