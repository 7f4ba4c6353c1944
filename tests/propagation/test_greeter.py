"""The example of two plain gRPC services runs in one command, and its traces are whole."""

import re
import subprocess
import sys

from tests.propagation.processes import ROOT, environment

from linkspan_propagation.testing import OtlpReceiver, assert_one_trace, assert_picture, traces

PICTURE = """
trace 1
  greet Ada INTERNAL [client]
  └─ greeter.Greeter/Greet SERVER [greeter] rpc.response.status_code=OK
     └─ phrases.Phrases/Get SERVER [phrases] rpc.response.status_code=OK
        └─ look up INTERNAL [phrases]
trace 2
  greet Bob in every language INTERNAL [client]
  └─ greeter.Greeter/GreetAll SERVER [greeter] rpc.response.status_code=OK
     ├─ phrases.Phrases/Get SERVER [phrases] rpc.response.status_code=OK
     │  └─ look up INTERNAL [phrases]
     ├─ phrases.Phrases/Get SERVER [phrases] rpc.response.status_code=OK
     │  └─ look up INTERNAL [phrases]
     └─ phrases.Phrases/Get SERVER [phrases] rpc.response.status_code=OK
        └─ look up INTERNAL [phrases]
trace 3
  greet Eve in none INTERNAL [client]
  └─ greeter.Greeter/Greet SERVER [greeter] rpc.response.status_code=NOT_FOUND
     └─ phrases.Phrases/Get SERVER [phrases] rpc.response.status_code=NOT_FOUND
        └─ look up INTERNAL [phrases]
"""


def run_example(**env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / "greeter" / "run.py")],
        capture_output=True,
        text=True,
        # gRPC itself may tell of connections that end; what is to be silent is the example.
        env=environment(env) | {"GRPC_VERBOSITY": "ERROR"},
        timeout=30,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_the_example_greets_and_draws_its_traces() -> None:
    printed = run_example()
    first, second, third, answer, *drawn = printed.splitlines()
    assert first == "Hello, Ada!"
    assert second == "Hello, Bob! Bonjour, Bob! Hallo, Bob!"
    assert third == "NOT_FOUND: no phrase in 'xx'"
    told = re.fullmatch("traceresponse: 00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", answer)
    assert told is not None
    assert f"trace {told[1]} (4 spans)" in drawn


def test_the_spans_of_the_example_are_three_whole_traces() -> None:
    with OtlpReceiver() as receiver:
        run_example(**receiver.environ())
        spans = receiver.spans()
    for members in traces(spans).values():
        assert_one_trace(members)
    assert_picture(spans, PICTURE, attributes=["rpc.response.status_code"])


def test_the_example_knows_nothing_but_grpc_and_this_library() -> None:
    for script in (ROOT / "examples" / "greeter").glob("*.py"):
        imported = set(re.findall(r"^(?:from|import) ([a-z_]+)", script.read_text(), re.MULTILINE))
        others = imported - set(sys.stdlib_module_names)
        assert others <= {"grpc", "opentelemetry", "linkspan_propagation"}
