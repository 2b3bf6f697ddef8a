"""Limits: windows, reservations, and what is left of them."""

from __future__ import annotations

import calendar
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.admission import (
    NANOS_PER_DOLLAR,
    Counter,
    Grant,
    Limiter,
    carry_over,
    limiters_from,
    settle,
    undo,
    window_bounds,
)
from gateway.kernel.errors import GatewayError, Kind
from gateway.settings.model import Budget, Key, Limit, Plan, Settings

NOW = 1_700_000_000.0


def at(*fields: int) -> float:
    """Unix seconds of a UTC date and time."""
    return float(calendar.timegm((*fields, *(0,) * (6 - len(fields)))))


@pytest.mark.parametrize(
    ("window", "now", "start", "end"),
    [
        ("10s", at(2024, 2, 29, 12, 0, 19), at(2024, 2, 29, 12, 0, 10), at(2024, 2, 29, 12, 0, 20)),
        ("second", at(2024, 1, 1), at(2024, 1, 1), at(2024, 1, 1, 0, 0, 1)),
        ("minute", at(2023, 12, 31, 23, 59, 59), at(2023, 12, 31, 23, 59), at(2024, 1, 1)),
        ("5m", at(2024, 1, 1, 0, 7), at(2024, 1, 1, 0, 5), at(2024, 1, 1, 0, 10)),
        ("hour", at(2024, 3, 10, 2, 30), at(2024, 3, 10, 2), at(2024, 3, 10, 3)),
        ("day", at(2024, 2, 29, 23), at(2024, 2, 29), at(2024, 3, 1)),
        ("week", at(2024, 2, 29), at(2024, 2, 26), at(2024, 3, 4)),
        ("week", at(2024, 2, 26), at(2024, 2, 26), at(2024, 3, 4)),
        ("week", at(2024, 3, 3, 23, 59, 59), at(2024, 2, 26), at(2024, 3, 4)),
        ("week", at(1970, 1, 6), at(1970, 1, 5), at(1970, 1, 12)),
        ("month", at(2024, 2, 29, 23, 59, 59), at(2024, 2, 1), at(2024, 3, 1)),
        ("month", at(2023, 2, 28), at(2023, 2, 1), at(2023, 3, 1)),
        ("month", at(2024, 12, 31, 23, 59, 59), at(2024, 12, 1), at(2025, 1, 1)),
        ("month", at(2024, 12, 1), at(2024, 12, 1), at(2025, 1, 1)),
        ("3month", at(2024, 5, 31), at(2024, 4, 1), at(2024, 7, 1)),
        ("6month", at(2024, 12, 31), at(2024, 7, 1), at(2025, 1, 1)),
        ("year", at(2024, 2, 29), at(2024, 1, 1), at(2025, 1, 1)),
        ("total", at(2024, 2, 29), 0.0, float("inf")),
    ],
)
def test_windows(window: str, now: float, start: float, end: float) -> None:
    assert window_bounds(window, now) == (start, end)


@given(
    st.sampled_from(["10s", "minute", "90m", "hour", "day", "week", "month", "2month", "5month", "year"]),
    st.floats(0, at(2100, 1, 1)),
)
def test_windows_hold_their_moment_and_touch_the_next(window: str, now: float) -> None:
    start, end = window_bounds(window, now)
    assert start <= now < end
    assert window_bounds(window, end)[0] == end
    assert window_bounds(window, start) == (start, end)


def limiter(*counters: tuple[str, float, str | None]) -> Limiter:
    return Limiter(Counter(metric, limit, window, "key 'k'") for metric, limit, window in counters)


def used(one: Limiter) -> list[int]:
    return [counter.used for counter in one.counters]


def test_all_is_taken_or_nothing() -> None:
    one = limiter(("requests", 10, "minute"), ("concurrency", 5, None), ("tokens", 100, "minute"))
    one.admit(60, 0, NOW)
    before = used(one)
    with pytest.raises(GatewayError):
        one.admit(50, 0, NOW)
    assert used(one) == before == [1, 1, 60]


@given(
    st.lists(st.tuples(st.sampled_from(["requests", "tokens", "cost", "concurrency"]), st.integers(0, 5)), max_size=5)
)
def test_a_refusal_changes_nothing(limits: list[tuple[str, int]]) -> None:
    one = limiter(
        *(
            (
                metric,
                limit / NANOS_PER_DOLLAR if metric == "cost" else limit,
                None if metric == "concurrency" else "hour",
            )
            for metric, limit in limits
        )
    )
    for _ in range(7):
        before = used(one)
        try:
            one.admit(1, 1, NOW)
        except GatewayError:
            assert used(one) == before
        else:
            assert used(one) == [count + 1 for count in before]
            assert all(counter.used <= counter.limit for counter in one.counters)


def test_each_limit_admits_exactly_as_many_as_it_says() -> None:
    for metric, window in (("requests", "hour"), ("concurrency", None), ("tokens", "day")):
        one = limiter((metric, 3, window))
        for _ in range(3):
            one.admit(1, 0, NOW)
        with pytest.raises(GatewayError):
            one.admit(1, 0, NOW)


def test_what_was_reserved_is_settled_at_what_was_used() -> None:
    one = limiter(("tokens", 1000, "hour"), ("cost", 1.0, "month"), ("concurrency", 1, None), ("requests", 9, "day"))
    grant = one.admit(600, 900_000_000, NOW)
    settle(grant, 40, 5)
    assert used(one) == [40, 5, 0, 1]


def test_a_request_that_ends_in_the_next_window_leaves_that_alone() -> None:
    one = limiter(("tokens", 1000, "minute"), ("concurrency", 2, None))
    start = window_bounds("minute", NOW)[0]
    old = one.admit(500, 0, start + 59)
    new = one.admit(300, 0, start + 60)
    assert used(one) == [300, 2]
    settle(old, 10, 0)
    assert used(one) == [300, 1]
    settle(new, 20, 0)
    assert used(one) == [20, 0]


def test_a_new_window_starts_empty() -> None:
    one = limiter(("requests", 1, "minute"))
    start = window_bounds("minute", NOW)[0]
    one.admit(0, 0, start)
    with pytest.raises(GatewayError) as error:
        one.admit(0, 0, start + 59.5)
    assert error.value.retry_after == 1.0
    one.admit(0, 0, start + 60)


def test_refusals_say_what_and_until_when() -> None:
    start = window_bounds("hour", NOW)[0]
    with pytest.raises(GatewayError, match=r"key 'k'.*limit 0 requests per hour, used 0, requested 1") as error:
        limiter(("requests", 0, "hour")).admit(0, 0, start + 600)
    assert (error.value.kind, error.value.code) == (Kind.RATE_LIMITED, "rate_limit_exceeded")
    assert error.value.retry_after == 3000
    with pytest.raises(GatewayError, match=r"\$0\.000000 of \$0\.010000 per month") as error:
        limiter(("cost", 0.01, "month")).admit(0, 20_000_000, NOW)
    assert (error.value.kind, error.value.code) == (Kind.QUOTA_EXCEEDED, "insufficient_quota")
    with pytest.raises(GatewayError) as error:
        limiter(("cost", 0.0, "total")).admit(0, 1, NOW)
    assert error.value.retry_after is None
    with pytest.raises(GatewayError, match="allows 0") as error:
        limiter(("concurrency", 0, None)).admit(0, 0, NOW)
    assert error.value.code == "concurrency_limit_exceeded"


@pytest.mark.parametrize("dollars", [0.57, 0.29, 1.1, 10.0, 0.000000001])
def test_a_budget_is_the_nano_dollars_it_says(dollars: float) -> None:
    (counter,) = limiter(("cost", dollars, "month")).counters
    assert counter.limit == round(dollars * 10**9)


ACTION = st.tuples(st.sampled_from(["admit", "settle"]), st.integers(0, 60), st.integers(0, 100), st.integers(0, 7))


@given(st.lists(ACTION, max_size=60), st.integers(1, 200))
def test_a_budget_is_never_overspent_whatever_the_order(actions: list[tuple[str, int, int, int]], amount: int) -> None:
    """No request costs more than was reserved for it, so what is spent and reserved stays within the budget."""
    one = limiter(("cost", amount / NANOS_PER_DOLLAR, "total"), ("concurrency", 4, None))
    running: list[tuple[Grant, int]] = []
    spent = 0
    for action, reserve, share, which in actions:
        if action == "admit":
            try:
                running.append((one.admit(0, reserve, NOW), reserve))
            except GatewayError:
                assert len(running) == 4 or spent + reserve + sum(held for _, held in running) > amount
        elif running:
            grant, reserved = running.pop(which % len(running))
            cost = reserved * share // 100
            settle(grant, 0, cost)
            spent += cost
        assert used(one) == [spent + sum(held for _, held in running), len(running)]
        assert used(one)[0] <= amount
    for grant, reserved in running:
        settle(grant, 0, reserved)
        spent += reserved
    assert used(one) == [spent, 0]


def settings_with(*limits: Limit, budget: Budget | None = None, plan_limit: float = 5) -> Settings:
    plan = Plan(name="team", limits=(Limit(metric="requests", limit=plan_limit, window="day"),))
    return Settings(
        plans=(plan,), keys=(Key(key="gw_test_one", name="one", plan="team", limits=limits, budget=budget),)
    )


def test_a_key_has_its_own_limits_its_budget_and_its_plans() -> None:
    settings = settings_with(Limit(metric="tokens", limit=9, window="hour"), budget=Budget(amount=2, period="week"))
    counters = limiters_from(settings)["one"].counters
    assert [(c.metric, c.limit, c.window, c.scope) for c in counters] == [
        ("tokens", 9, "hour", "key 'one'"),
        ("cost", 2 * NANOS_PER_DOLLAR, "week", "key 'one'"),
        ("requests", 5, "day", "plan 'team'"),
    ]


def test_a_reload_keeps_what_was_used_and_takes_the_new_limit() -> None:
    before = limiters_from(settings_with(Limit(metric="concurrency", limit=1)))
    grant = before["one"].admit(0, 0, time.time())
    after = limiters_from(settings_with(Limit(metric="concurrency", limit=2), plan_limit=1))
    after = carry_over(before, after)
    assert used(after["one"]) == [1, 1]
    assert [counter.limit for counter in after["one"].counters] == [2, 1]
    with pytest.raises(GatewayError, match="plan 'team'"):
        after["one"].admit(0, 0, time.time())
    settle(grant, 0, 0)
    assert used(after["one"]) == [0, 1], "a request that runs over a reload frees its slot"


def test_a_reload_with_new_keys_and_limits_starts_those_at_zero() -> None:
    before = limiters_from(settings_with())
    before["one"].admit(0, 0, time.time())
    settings = settings_with(Limit(metric="tokens", limit=9, window="hour"))
    settings = Settings(plans=settings.plans, keys=(*settings.keys, Key(key="gw_test_two", name="two", plan="team")))
    after = limiters_from(settings)
    after = carry_over(before, after)
    assert used(after["one"]) == [0, 1]
    assert used(after["two"]) == [0]


STEP = st.tuples(st.sampled_from(["admit", "admit late", "settle", "later", "reload"]), st.integers(0, 9))


@given(st.lists(STEP, max_size=40))
def test_no_order_of_windows_and_reloads_leaves_anything_behind(steps: list[tuple[str, int]]) -> None:
    """``admit late`` is a request that began before the last reload and is admitted after it."""
    limits = (
        Limit(metric="tokens", limit=10**6, window="minute"),
        Limit(metric="tokens", limit=10**6, window="hour"),
        Limit(metric="concurrency", limit=10**6),
    )
    settings = settings_with(*limits, budget=Budget(amount=1000, period="day"), plan_limit=10**6)
    current = limiters_from(settings)
    callers = [current["one"]]
    running: list[Grant] = []
    now = NOW
    for step, which in steps:
        if step == "admit":
            running.append(callers[-1].admit(100, 50, now))
        elif step == "admit late":
            running.append(callers[max(0, len(callers) - 2)].admit(100, 50, now))
        elif step == "settle" and running:
            settle(running.pop(which % len(running)), 0, 0)
        elif step == "later":
            now += 25 * (1 + which)
        elif step == "reload":
            current = carry_over(current, limiters_from(settings))
            callers.append(current["one"])
        held = {(c.metric, c.window): c.used for c in current["one"].counters}
        assert all(count >= 0 for count in held.values()), held
        assert held["concurrency", None] == len(running)
        assert held["tokens", "minute"] <= held["tokens", "hour"] <= 100 * len(running)
        assert held["cost", "day"] <= 50 * len(running)
    for grant in running:
        settle(grant, 0, 0)
    assert all(c.used == 0 for c in current["one"].counters if c.metric != "requests")


def test_two_limits_of_one_kind_stay_two_over_a_reload() -> None:
    limits = (Limit(metric="requests", limit=9, window="hour"), Limit(metric="requests", limit=3, window="hour"))
    before, after = limiters_from(settings_with(*limits)), limiters_from(settings_with(*limits))
    before["one"].admit(0, 0, time.time())
    after = carry_over(before, after)
    after["one"].admit(0, 0, time.time())
    assert used(after["one"]) == [2, 2, 2]
    assert len({id(counter) for counter in after["one"].counters}) == 3
    assert [counter.limit for counter in after["one"].counters] == [9, 3, 5]


def test_what_is_undone_was_never_taken() -> None:
    one = limiter(("requests", 2, "hour"), ("tokens", 100, "hour"), ("concurrency", 1, None))
    for _ in range(5):
        undo(one.admit(90, 0, NOW))
    assert used(one) == [0, 0, 0]
    grant = one.admit(100, 0, NOW)
    settle(grant, 60, 0)
    undo(grant)
    assert used(one) == [1, 60, 0], "what is settled can't be undone"
