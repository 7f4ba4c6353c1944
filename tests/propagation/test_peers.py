"""Chains of processes are one trace, whoever traces which of them."""

from contextlib import ExitStack

import pytest
from tests.propagation.processes import child, run
from tests.requirements import requirement

from linkspan_propagation.testing import ExportedSpan, OtlpReceiver, assert_one_trace


def call_through(
    client: str, servers: list[str], *, instrumented: bool = False
) -> list[ExportedSpan]:
    """Call through a chain of servers, each in its process, and return all that was exported."""
    with OtlpReceiver() as receiver:
        env = receiver.environ()
        with ExitStack() as chain:
            ports: list[str] = []
            for tracing in reversed(servers):
                server = child(
                    "peer.py", "server", tracing, *ports, env=env, instrumented=instrumented
                )
                ports = [chain.enter_context(server).ready]
            printed = run("peer.py", "client", client, *ports, env=env, instrumented=instrumented)
        # All processes have ended, and flushed when they did: what is missing now never comes.
        assert printed.split() == [str(len(servers)), str(len(servers))]
        return receiver.spans()


def chains_of(spans: list[ExportedSpan]) -> list[list[tuple[str, str]]]:
    """Return service and kind from the root down to each leaf."""
    by_id = {span.span_id: span for span in spans}
    parents = {span.parent_span_id for span in spans}
    chains: list[list[tuple[str, str]]] = []
    for leaf in (span for span in spans if span.span_id not in parents):
        found = [leaf]
        while (parent := by_id.get(found[0].parent_span_id)) is not None:
            found.insert(0, parent)
        chains.append([(span.service_name, span.kind) for span in found])
    return chains


@requirement("trace.contrib")
@pytest.mark.parametrize(
    ("client", "servers"),
    [
        ("ours", ["ours", "ours"]),
        ("published", ["ours", "published", "ours"]),
        ("ours", ["published", "ours", "published"]),
        ("ours-spans", ["published", "ours-spans"]),
        ("ours-sync", ["ours-sync", "ours"]),
        ("published-sync", ["ours-sync", "published-sync", "ours-sync-spans"]),
        ("ours-sync-spans", ["published-sync", "ours-sync", "published"]),
    ],
    ids=[
        "only-ours",
        "published-client",
        "our-client",
        "our-client-spans",
        "only-ours-sync",
        "published-sync-client",
        "our-sync-client",
    ],
)
def test_a_chain_of_processes_is_one_trace(client: str, servers: list[str]) -> None:
    spans = assert_one_trace(call_through(client, servers))

    expected = [(f"client-{client}", "INTERNAL")]
    for caller, server in zip([client, *servers], servers, strict=False):
        if caller.startswith("published") or caller.endswith("spans"):
            # This client has a span of its own between, exported by the process that calls.
            role = "client" if len(expected) == 1 else "server"
            expected.append((f"{role}-{caller}", "CLIENT"))
        expected.append((f"server-{server}", "SERVER"))
    assert chains_of(spans) == [expected, expected]


@requirement("trace.contrib")
@pytest.mark.parametrize("words", ["", "-sync"])
def test_under_opentelemetry_instrument_the_published_spans_stand_alone(words: str) -> None:
    client, server = f"ours{words}-spans", f"ours{words}"
    spans = assert_one_trace(call_through(client, [server, server], instrumented=True))

    service = f"server-{server}"
    expected = [
        (f"client-{client}", "INTERNAL"),
        (f"client-{client}", "CLIENT"),
        (service, "SERVER"),
        (service, "CLIENT"),
        (service, "SERVER"),
    ]
    assert chains_of(spans) == [expected, expected]
    scopes = {span.scope_name for span in spans if span.kind != "INTERNAL"}
    assert scopes == {"opentelemetry.instrumentation.grpc"}


@requirement("trace.contrib")
@pytest.mark.parametrize("words", ["", "-sync"])
def test_under_opentelemetry_instrument_our_spans_stand_alone_if_patches_are_removed(
    words: str,
) -> None:
    client, server = f"ours{words}-spans-alone", f"ours{words}-alone"
    spans = assert_one_trace(call_through(client, [server, server], instrumented=True))

    service = f"server-{server}"
    expected = [
        (f"client-{client}", "INTERNAL"),
        (f"client-{client}", "CLIENT"),
        (service, "SERVER"),
        (service, "SERVER"),
    ]
    assert chains_of(spans) == [expected, expected]
    assert {span.scope_name for span in spans} == {"linkspan_propagation", "peer"}
