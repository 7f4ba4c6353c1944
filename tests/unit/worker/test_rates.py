"""Token buckets: who may come, when they may come again, and that full buckets are forgotten."""

import pytest

from linkspan_worker.limit_config import LimitConfig
from linkspan_worker.rates import (
    MAX_BUCKETS,
    MAX_DEBT_SECONDS,
    Rate,
    TokenBuckets,
    filled_after_debt,
    parse_rate,
)


def test_a_burst_is_let_through_and_then_as_many_as_the_rate_allows() -> None:
    buckets = TokenBuckets(Rate(per_second=2, burst=3))
    assert [buckets.take("a", 100.0) for _ in range(5)] == [0, 0, 0, 0.5, 0.5]
    assert buckets.take("a", 100.4) == pytest.approx(0.1)
    assert [buckets.take("a", 100.5), buckets.take("a", 100.5)] == [0, 0.5]
    assert [buckets.take("a", 101.5 + 1e-9) for _ in range(3)] == [0, 0, pytest.approx(0.5)]


def test_over_a_long_time_no_more_come_through_than_the_rate_allows() -> None:
    buckets = TokenBuckets(Rate(per_second=50, burst=10))
    let_in = sum(not buckets.take("a", 7.0 + number / 1000) for number in range(10_000))
    assert let_in == 10 + 50 * 10 - 1  # the last interval is not over


def test_whoever_waits_as_long_as_told_is_let_in() -> None:
    buckets = TokenBuckets(Rate(per_second=3, burst=1))
    now = 1e6
    for _ in range(100):
        assert not buckets.take("a", now)
        now += buckets.take("a", now)


def test_a_caller_has_nothing_to_do_with_another() -> None:
    buckets = TokenBuckets(Rate(per_second=1, burst=1))
    assert [buckets.take("a", 1.0), buckets.take("b", 1.0)] == [0, 0]
    assert buckets.take("a", 1.0) == buckets.take("b", 1.0) == 1


def test_what_is_owed_is_made_up_for_first() -> None:
    buckets = TokenBuckets(Rate(per_second=1, burst=5))
    assert not buckets.take("a", 10.0)
    buckets.owe("a", 9, 10.0)
    assert buckets.take("a", 10.0) == pytest.approx(6)
    assert buckets.take("a", 15.0) == pytest.approx(1)
    assert not buckets.take("a", 16.0)


@pytest.mark.parametrize(
    ("rate", "lacking", "tokens", "wait"),
    [
        (Rate(50, burst=50), 1, 99, 51 / 50),
        (Rate(50, burst=50), 1, 0, 0),
        (Rate(100 / 60, burst=20), 20, 99, 60),
        (Rate(100 / 60, burst=20), 20, 1999, MAX_DEBT_SECONDS),
        (Rate(1000 / 3600, burst=20), 20, 99, 360),
        (Rate(1000 / 3600, burst=20), 20, 20 * 99, MAX_DEBT_SECONDS),
        (Rate(10 / 3600, burst=20), 1, 99, MAX_DEBT_SECONDS),
        (Rate(1 / 3600, burst=20), 1, 99, 3600),  # one token alone takes that long
        (Rate(1 / 3600, burst=20), 20, 99, 3600),
    ],
)
def test_what_is_owed_keeps_nobody_waiting_for_longer_than_the_bound(
    rate: Rate, lacking: int, tokens: int, wait: float
) -> None:
    now, interval = 1e5, 1 / rate.per_second
    filled = filled_after_debt(now + lacking * interval, tokens, now, rate)
    assert max(filled - now - (rate.burst - 1) * interval, 0) == pytest.approx(wait)


def test_who_owes_the_most_there_can_be_is_let_in_after_that_and_then_as_often_as_ever() -> None:
    buckets = TokenBuckets(Rate(per_second=0.1, burst=5))
    assert [buckets.take("a", 10.0) for _ in range(5)] == [0] * 5  # five batches at once
    for _ in range(5):
        buckets.owe("a", 99, 10.0)
    assert buckets.take("a", 10.0) == pytest.approx(MAX_DEBT_SECONDS)
    now = 10.0 + MAX_DEBT_SECONDS
    assert [buckets.take("a", now), buckets.take("a", now)] == [0, pytest.approx(10)]


def test_a_clock_that_stands_still_lets_nobody_in_twice() -> None:
    buckets = TokenBuckets(Rate(per_second=1_000_000, burst=1))
    assert not buckets.take("a", 5.0)
    assert buckets.take("a", 5.0)


def test_full_buckets_are_forgotten_so_that_callers_who_came_once_take_no_room() -> None:
    buckets = TokenBuckets(Rate(per_second=10, burst=10))
    for number in range(5000):
        assert not buckets.take(f"caller {number}", number / 1000)
    assert len(buckets) <= 102  # who came within the last tenth of a second


def test_there_are_no_more_buckets_than_there_may_be() -> None:
    buckets = TokenBuckets(Rate(per_second=1, burst=10))
    for number in range(MAX_BUCKETS + 100):
        assert not buckets.take(f"caller {number}", 0.0)
    assert len(buckets) == MAX_BUCKETS


@pytest.mark.parametrize(
    ("text", "per_second"),
    [
        ("", None),
        ("50/s", 50.0),
        ("90/m", 1.5),
        ("3600/h", 1.0),
        ("0.5/s", 0.5),
        ("1/ h", 1 / 3600),
    ],
)
def test_a_rate_is_read_with_its_unit(text: str, per_second: float | None) -> None:
    assert parse_rate(text) == per_second


@pytest.mark.parametrize(
    "text", ["50", "50/d", "0/s", "-1/s", "nan/s", "inf/s", "a/s", "/s", "1/s/s"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as 50/s"):
        parse_rate(text)


@pytest.mark.parametrize(
    ("per_second", "burst", "expected"),
    [(100 / 60, None, 20), (1 / 3600, None, 20), (50.0, None, 50), (50.0, 3, 3)],
)
def test_a_burst_is_what_a_second_allows_and_20_at_least_unless_it_is_set(
    per_second: float, burst: int | None, expected: int
) -> None:
    assert LimitConfig(rate=per_second, rate_burst=burst).caller_rate == Rate(per_second, expected)
