"""Chains of processes are one trace, whoever traces which of them."""

from contextlib import ExitStack

import pytest
from tests.propagation.processes import child, run

from linkspan_propagation.testing import ExportedSpan, OtlpReceiver, assert_one_trace


def call_through(client: str, servers: list[str]) -> list[ExportedSpan]:
    """Call through a chain of servers, each in its process, and return all that was exported."""
    with OtlpReceiver() as receiver:
        with ExitStack() as chain:
            ports: list[str] = []
            for instrumentation in reversed(servers):
                server = child("peer.py", "server", instrumentation, *ports, env=receiver.environ())
                ports = [chain.enter_context(server).ready]
            printed = run("peer.py", "client", client, *ports, env=receiver.environ())
        # All processes have ended, and flushed when they did: what is missing now never comes.
        assert printed.split() == [str(len(servers)), str(len(servers))]
        return receiver.spans()


def chain_of(spans: list[ExportedSpan], leaf: ExportedSpan) -> list[tuple[str, str]]:
    """Return service and kind from the root down to ``leaf``."""
    by_id = {span.span_id: span for span in spans}
    found = [leaf]
    while (parent := by_id.get(found[0].parent_span_id)) is not None:
        found.insert(0, parent)
    return [(span.service_name, span.kind) for span in found]


@pytest.mark.parametrize(
    ("client", "servers"),
    [
        ("ours", ["ours", "ours"]),
        ("published", ["ours", "published", "ours"]),
        ("ours", ["published", "ours", "published"]),
    ],
    ids=["only-ours", "published-client", "our-client"],
)
def test_a_chain_of_processes_is_one_trace(client: str, servers: list[str]) -> None:
    spans = assert_one_trace(call_through(client, servers))

    expected = [(f"client-{client}", "INTERNAL")]
    for caller, server in zip([client, *servers], servers, strict=False):
        if caller == "published":
            # Its client has a span of its own between, exported by the process that calls.
            role = "client" if len(expected) == 1 else "server"
            expected.append((f"{role}-published", "CLIENT"))
        expected.append((f"server-{server}", "SERVER"))
    parents = {span.parent_span_id for span in spans}
    leaves = [span for span in spans if span.span_id not in parents]
    assert [chain_of(spans, leaf) for leaf in leaves] == [expected, expected]
