"""The page and its charts, out of all samples. Pure: text in, text out.

Above lies `__main__`; below lie `aims`, `charts` and `samples`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.compare.aims import judged, peers_in
from bench.compare.benches import (
    CALL_32,
    FAN_OUT,
    FEW_TOOLS,
    INITIALIZE,
    LIST,
    MEMORY_AFTER,
    MEMORY_BEFORE,
    Outcome,
)
from bench.compare.charts import Bar, bar_chart
from bench.compare.plan import TOOLS, Plan
from bench.compare.samples import Arms, Found, Pick, Sample, median_of
from bench.figures import Section, Write, filled, mebibytes, millis, number, spread

TITLE: Final = "# Linkspan and its peers"

_HEAD: Final = """\
`make bench` takes these figures and writes this page. Each is the median over {rounds} (of
long answers and streams, {long_rounds}) rounds, between which the things that are compared
take turns, with the least and the greatest in brackets. The load generator checks every answer to
its last byte; one that is wrong ends the run. CPU is that of all processes that serve, for one
request; memory is what they have resident together afterwards. What it takes itself stands in the
last column."""

_CONDITIONS: Final = """\
Linkspan is one worker and one session server with their default settings, unless it says otherwise:
sessions in SQLite, and every span sent to a collector, which is a process of its own and counts for
nobody. The MCP SDK and FastMCP run on uvicorn with uvloop and httptools, without access log; the
TypeScript SDK on Node's own HTTP server. They have their sessions in memory, no event store and no
tracing. *JSON* and *SSE* is what calls are answered with: Linkspan goes by what its client names
first in `Accept`, the others by how they were started. All serve the same tools."""

_COLUMNS: Final = (
    "",
    "",
    "a second",
    "p50, ms",
    "p99, ms",
    "CPU, ms",
    "memory, MiB",
    "client CPU, ms",
)


@dataclass(frozen=True, slots=True)
class _Part:
    """What is said of a bench."""

    title: str
    text: str


_PARTS: Final[Mapping[str, _Part]] = {
    "calls": _Part(
        "Calls of a tool",
        f"`echo`, which answers with the text that it was given, on a server of {TOOLS} tools; as "
        "many sessions as clients, each on a connection of its own.",
    ),
    "payloads": _Part(
        "Lists and long answers",
        f"`tools/list` of {TOOLS} tools (35 kB), and tools that answer with a text of 10,000 or a "
        "million characters. Each server writes the schemas of its tools in its own way, so lists "
        "differ by some bytes.",
    ),
    "creation": _Part(
        "Sessions made",
        "*initialize* alone, or the whole *handshake* with `notifications/initialized`, on servers "
        f"that are new in each round and have {FEW_TOOLS} tools. Linkspan has put each on record "
        "when it answers.",
    ),
    "streams": _Part(
        "Notifications to many",
        "{streams:,} sessions, each with a GET stream; one call of a tool notifies all of them. "
        "*p50* and *p99*: from that call until a stream has it. *A second*: how many arrive until "
        "all have it. CPU is that of one notification to one stream.",
    ),
    "tracing": _Part(
        "Tracing",
        "Linkspan with every span sent, with those of one request in a hundred, and with tracing "
        "off.",
    ),
    "stores": _Part(
        "Stores",
        "Linkspan by store. It has none that keeps nothing: *in memory* is SQLite on a file system "
        "in memory. Valkey has an append-only file, written out every second, and counts for CPU "
        "and not for memory of its own.",
    ),
    "cores": _Part(
        "More processes",
        "Linkspan by how many processes there are; clients are spread over the workers.",
    ),
    "tunnel": _Part(
        "The tunnel",
        "An echo of 100 bytes between two processes: RPCs of grpc.aio, and the same through a tunnel, "
        "without tracing, HTTP or MCP. CPU is that of both. `make bench-tunnel` has larger messages.",
    ),
    "propagation": _Part(
        "Trace context over gRPC",
        "The same echo in one process, whose CPU this is: the context carried by two lines that wrap "
        "channel and server, or by interceptors; with spans; and by "
        "opentelemetry-instrumentation-grpc. Each round is many short turns. "
        "`make bench-propagation` has more forms.",
    ),
}


def page(found: Mapping[str, Outcome], plan: Plan, facts: Sequence[str]) -> str:
    """Write the page.

    Args:
        found: What each bench found, in the order of the page.
        plan: The sizes of the run.
        facts: What it was measured on, a paragraph each.
    """
    samples: Found = {name: outcome.loads for name, outcome in found.items()}
    head = _HEAD.format(rounds=plan.rounds, long_rounds=plan.long_rounds)
    parts = [TITLE, filled(head), filled(_CONDITIONS), *map(filled, facts)]
    aims = judged(samples, plan.live)
    if aims.rows:
        parts.append(aims.markdown())
    shown = charts(samples)
    for name, outcome in found.items():
        section = _memory(outcome) if name == "memory" else _section(name, outcome, plan)
        parts.append(section.markdown())
        parts += [
            f"![{title}](bench/{file})" for file, (of, title, _) in shown.items() if of == name
        ]
    return "\n\n".join(parts) + "\n"


def charts(found: Found) -> dict[str, tuple[str, str, str]]:
    """Draw the charts of what was measured.

    Returns:
        By file name: the bench, the title, and the picture.
    """
    wanted: list[tuple[str, str, str, str, Pick, Write]] = [
        ("calls-throughput", "calls", CALL_32, "Calls a second, 32 clients", _rate, number),
        ("calls-cpu", "calls", CALL_32, "CPU of a call, ms, 32 clients", _cpu, _plain),
        (
            "calls-p99",
            "calls",
            CALL_32,
            "99 in 100 calls took at most, ms, 32 clients",
            _p99,
            _plain,
        ),
        ("lists", "payloads", LIST.name, f"Lists of {TOOLS} tools a second", _rate, number),
        ("creation", "creation", INITIALIZE, "Sessions made a second", _rate, number),
        ("streams", "streams", FAN_OUT, "Notifications a second, to many streams", _rate, number),
        ("tracing", "tracing", CALL_32, "Calls a second, 32 clients", _rate, number),
        ("stores", "stores", CALL_32, "Calls a second, 32 clients", _rate, number),
        ("cores", "cores", CALL_32, "Calls a second, 32 clients", _rate, number),
    ]
    drawn: dict[str, tuple[str, str, str]] = {}
    for file, bench, load, title, pick, write in wanted:
        if bench in found:
            drawn[f"{file}.svg"] = (
                bench,
                title,
                bar_chart(title, _bars(found[bench][load], pick, write)),
            )
    return drawn


def _rate(sample: Sample) -> float:
    return sample.per_second


def _cpu(sample: Sample) -> float:
    return sample.cpu * 1000


def _p99(sample: Sample) -> float:
    return sample.p99 * 1000


def _plain(value: float) -> str:
    return number(value)


def _bars(arms: Arms, pick: Pick, write: Write) -> list[Bar]:
    others = peers_in(arms)
    bars: list[Bar] = []
    for label, samples in arms.items():
        values = [pick(each) for each in samples]
        middle = median_of(samples, pick)
        ours = label not in others or len(others) == len(arms)
        bars.append(Bar(label, middle, min(values), max(values), write(middle), ours))
    return bars


def _section(name: str, outcome: Outcome, plan: Plan) -> Section:
    part = _PARTS[name]
    section = Section(part.title, part.text.format(streams=plan.streams), _COLUMNS)
    for load, arms in outcome.loads.items():
        section.rows += [(load, label, *_cells(samples)) for label, samples in arms.items()]
    section.notes += [
        f"{server}: {each.spans:,} spans of {each.requests:,} requests came to the collector, "
        f"{number(each.spans / each.requests)} of each."
        for server, each in outcome.arrived.items()
        if each.requests
    ]
    return section


def _cells(samples: Sequence[Sample]) -> tuple[str, ...]:
    return (
        spread([each.per_second for each in samples], number),
        spread([each.p50 for each in samples], millis),
        spread([each.p99 for each in samples], millis),
        spread([each.cpu for each in samples], millis),
        mebibytes(median_of(samples, lambda each: each.resident)),
        millis(median_of(samples, lambda each: each.client_cpu)),
    )


def _memory(outcome: Outcome) -> Section:
    section = Section(
        "Memory of live sessions",
        "Before and after sessions have been opened, each with the whole handshake, and measured "
        "once. All processes that serve.",
        ("", "sessions", "before, MiB", "after, MiB", "a session, kB"),
    )
    before, after = outcome.loads[MEMORY_BEFORE], outcome.loads[MEMORY_AFTER]
    for label in before:
        low = median_of(before[label], lambda each: each.resident)
        high = median_of(after[label], lambda each: each.resident)
        opened = outcome.opened[label]
        each = number((high - low) / opened / 1000)
        section.rows.append((label, f"{opened:,}", mebibytes(low), mebibytes(high), each))
    return section
