"""Medians, ratios and verdicts follow from samples, round by round."""

import pytest
from bench.compare.aims import AIMS, OURS, OURS_SSE, SDK_JSON, SDK_SSE, judged
from bench.compare.benches import CALL_1, CALL_32, INITIALIZE, MEMORY_AFTER, MEMORY_BEFORE
from bench.compare.boundary import BARE, ECHO_32, INTERCEPTED, TUNNEL
from bench.compare.regression import judge
from bench.compare.samples import (
    Found,
    Sample,
    Verdict,
    best,
    chance_of,
    median_of,
    ratios,
    sample_of,
    verdict,
)

OTHER = "TypeScript SDK, SSE"


def sample(per_second: float = 1, cpu: float = 1, p99: float = 1, resident: float = 0) -> Sample:
    return Sample(per_second, p99, p99, cpu, 0.1, resident)


def test_a_sample_counts_for_one_request() -> None:
    made = sample_of(
        [0.1, 0.2, 0.3, 0.4], 2.0, spent={"worker": 1.0, "session": 3.0}, client_cpu=0.4, resident=7
    )
    assert made.per_second == 2
    assert (made.p50, made.p99) == (0.2, 0.4)
    assert made.cpu == 1.0
    assert made.roles == {"worker": 0.25, "session": 0.75}
    assert made.client_cpu == pytest.approx(0.1)


def test_ratios_are_taken_within_rounds_and_not_between_medians() -> None:
    ours = [sample(10), sample(100), sample(40)]
    theirs = [sample(5), sample(50), sample(10)]
    assert ratios(ours, theirs, lambda each: each.per_second) == [2, 2, 4]
    with pytest.raises(ValueError, match="zip"):
        ratios(ours, theirs[:2], lambda each: each.per_second)


def test_the_best_peer_is_that_of_the_best_median() -> None:
    arms = {"one": [sample(1), sample(90), sample(2)], "other": [sample(5), sample(6), sample(4)]}
    assert best(arms, lambda each: each.per_second, most=True) == "other"
    assert best(arms, lambda each: each.per_second, most=False) == "one"
    assert median_of(arms["one"], lambda each: each.per_second) == 2


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        ([1.2] * 6, Verdict.WORSE),
        ([1.2] * 11 + [0.9], Verdict.WORSE),
        ([1.2] * 10 + [0.9] * 2, Verdict.WORSE),
        ([1.2] * 9 + [0.9] * 3, Verdict.UNCLEAR),
        ([3.0] * 5, Verdict.UNCLEAR),
        ([1.1] * 12, Verdict.HOLDS),
        ([0.5, 0.6], Verdict.HOLDS),
    ],
)
def test_a_verdict_takes_the_spread_into_account(taken: list[float], said: Verdict) -> None:
    assert verdict(taken, 0.1) is said


def everything() -> Found:
    calls = {
        OURS: [sample(3000, cpu=0.2, p99=0.01), sample(3300, cpu=0.2, p99=0.01)],
        OURS_SSE: [sample(2500, cpu=0.3), sample(2500, cpu=0.3)],
        SDK_JSON: [sample(500, cpu=0.4, p99=0.02), sample(500, cpu=0.4, p99=0.02)],
        SDK_SSE: [sample(250), sample(250)],
        OTHER: [sample(1000, p99=0.05), sample(1000, p99=0.05)],
    }
    tracing = {"tracing 100 %, JSON": [sample(95)], "tracing off, JSON": [sample(100)]}
    return {
        "calls": {CALL_32: calls, CALL_1: calls},
        "tracing": {CALL_32: tracing},
        "creation": {INITIALIZE: calls},
        "memory": {
            MEMORY_BEFORE: {OURS: [sample(resident=100e6)]},
            MEMORY_AFTER: {OURS: [sample(resident=250e6)]},
        },
        "tunnel": {ECHO_32: {TUNNEL: [sample(60)], BARE: [sample(10)]}},
        "propagation": {ECHO_32: {INTERCEPTED: [sample(1, cpu=1.2)], BARE: [sample(1, cpu=1)]}},
    }


def test_each_aim_is_judged_against_whom_it_says() -> None:
    rows = judged(everything(), 10_000).rows
    assert [row[1:] for row in rows] == [
        ("3.15 (3.00 to 3.30)", "≥ 2.50", "yes", OTHER),
        ("0.500 (0.500 to 0.500)", "≤ 0.700", "yes", SDK_JSON),
        ("10.0 (10.0 to 10.0)", "≥ 5.00", "yes", SDK_SSE),
        ("1.50 (1.50 to 1.50)", "≤ 1.33", "**no**", OURS),
        ("0.500 (0.500 to 0.500)", "≤ 0.250", "**no**", SDK_JSON),
        ("0.500 (0.500 to 0.500)", "≤ 1.30", "yes", SDK_JSON),
        ("0.950", "≥ 0.900", "yes", "tracing off, JSON"),
        ("3.15 (3.00 to 3.30)", "≥ 4.00", "**no**", OTHER),
        ("150", "≤ 100", "**no**", "itself, empty"),
        ("6.00", "≥ 5.00", "yes", BARE),
        ("1.20", "≤ 1.05", "**no**", BARE),
    ]
    assert len(rows) == len(AIMS)


def test_aims_that_were_not_measured_are_left_out() -> None:
    found = everything()
    del found["calls"]
    whats = [row[0] for row in judged(found, 500).rows]
    assert len(whats) == 4
    assert not any(what.startswith("memory") for what in whats)


def test_a_slower_version_is_found_by_time_and_by_cpu() -> None:
    def arms(now: Sample, before: Sample) -> dict[str, list[Sample]]:
        both = ("JSON", "SSE")
        return {
            f"{name}, {kind}": [each] * 6
            for name, each in (("now", now), ("before", before))
            for kind in both
        }

    slower = judge(CALL_32, arms(sample(80, cpu=1), sample(100, cpu=1)), 0.1)
    assert [(each.what.rpartition(" ")[2], each.said) for each in slower] == [
        ("time", Verdict.WORSE),
        ("CPU", Verdict.HOLDS),
    ] * 2
    dearer = judge(CALL_32, arms(sample(100, cpu=1.2), sample(100, cpu=1)), 0.1)
    assert [each.said for each in dearer] == [Verdict.HOLDS, Verdict.WORSE] * 2


def test_chance_is_that_of_a_coin() -> None:
    assert chance_of(0, 1) == 0.5
    assert chance_of(1, 2) == 0.75
    assert chance_of(3, 3) == 1
    assert chance_of(2, 12) == pytest.approx(79 / 4096)
