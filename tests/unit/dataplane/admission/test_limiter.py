"""Limits: reservations, and what is left of them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.policy import LimitPolicy
from gateway.contract.windows import window_bounds
from gateway.dataplane.admission.counters import Counter
from gateway.dataplane.admission.limiter import CounterSet, Era, Grant, settle, undo
from gateway.dataplane.admission.policies import limits_of_key, shared_limits
from gateway.dataplane.admission.registry import Limiter, Registry, Shared
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.money import NANOS_PER_DOLLAR, to_nanos
from gateway.settings.model import Budget, Key, Limit, Plan, Settings, SharedLimit

NOW = 1_700_000_000.0


def limiter(*counters: tuple[Any, float, str | None]) -> CounterSet:
    policies = [
        LimitPolicy(
            "key",
            "k",
            metric,
            to_nanos(limit) if metric == "cost" else int(limit),
            window,
            source="budget" if metric == "cost" else "limit",
        )
        for metric, limit, window in counters
    ]
    return CounterSet([Counter(policy) for policy in policies], Era(lambda counter: None))


def used(one: CounterSet) -> list[int]:
    return [counter.count.taken for counter in one.all]


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
            assert all(counter.count.taken <= counter.count.limit for counter in one.all)


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
    (counter,) = limiter(("cost", dollars, "month")).all
    assert counter.count.limit == round(dollars * 10**9)


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


def limiters_from(settings: Settings, registry: Registry) -> dict[str, CounterSet]:
    """Of each static key: what a request for the model ``m`` is held to."""
    plans = {plan.name: plan for plan in settings.plans if isinstance(plan, Plan)}
    shared = Shared(shared_limits(settings), registry)
    return {
        key.name: Limiter(registry.counters(limits_of_key(key, plans))).for_model("m", shared) for key in settings.keys
    }


def test_a_key_has_its_own_limits_its_budget_and_its_plans() -> None:
    settings = settings_with(Limit(metric="tokens", limit=9, window="hour"), budget=Budget(amount=2, period="week"))
    counters = limiters_from(settings, Registry())["one"].all
    assert [(c.metric, c.count.limit, c.window, c.policy.source, c.policy.name) for c in counters] == [
        ("tokens", 9, "hour", "limit", ""),
        ("cost", 2 * NANOS_PER_DOLLAR, "week", "budget", ""),
        ("requests", 5, "day", "plan", "team"),
    ]


def test_a_reload_keeps_what_was_used_and_takes_the_new_limit() -> None:
    registry = Registry()
    before = limiters_from(settings_with(Limit(metric="concurrency", limit=1)), registry)
    grant = before["one"].admit(0, 0, time.time())
    after = limiters_from(settings_with(Limit(metric="concurrency", limit=2), plan_limit=1), registry)
    assert used(after["one"]) == [1, 1]
    assert [counter.count.limit for counter in after["one"].all] == [2, 1]
    with pytest.raises(GatewayError, match="plan 'team'"):
        after["one"].admit(0, 0, time.time())
    settle(grant, 0, 0)
    assert used(after["one"]) == [0, 1], "a request that runs over a reload frees its slot"


def test_a_reload_with_new_keys_and_limits_starts_those_at_zero() -> None:
    registry = Registry()
    before = limiters_from(settings_with(), registry)
    before["one"].admit(0, 0, time.time())
    settings = settings_with(Limit(metric="tokens", limit=9, window="hour"))
    settings = Settings(plans=settings.plans, keys=(*settings.keys, Key(key="gw_test_two", name="two", plan="team")))
    after = limiters_from(settings, registry)
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
    registry = Registry()
    current = limiters_from(settings, registry)
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
            current = limiters_from(settings, registry)
            callers.append(current["one"])
        held = {(c.metric, c.window): c.count.taken for c in current["one"].all}
        assert all(count >= 0 for count in held.values()), held
        assert held["concurrency", None] == len(running)
        assert held["tokens", "minute"] <= held["tokens", "hour"] <= 100 * len(running)
        assert held["cost", "day"] <= 50 * len(running)
    for grant in running:
        settle(grant, 0, 0)
    assert all(c.count.taken == 0 for c in current["one"].all if c.metric != "requests")


def test_of_two_limits_that_are_one_the_smaller_holds() -> None:
    limits = (Limit(metric="requests", limit=9, window="hour"), Limit(metric="requests", limit=3, window="hour"))
    one = limiters_from(settings_with(*limits), Registry())["one"]
    assert [counter.count.limit for counter in one.all] == [3, 5]


def test_a_clock_that_was_far_ahead_for_a_moment_leaves_no_window_behind() -> None:
    one = limiter(("requests", 2, "minute"), ("requests", 9, "day"))
    one.admit(0, 0, NOW)
    one.admit(0, 0, NOW + 40 * 86_400)
    for _ in range(2):
        one.admit(0, 0, NOW + 1)
    with pytest.raises(GatewayError) as refusal:
        one.admit(0, 0, NOW + 2)
    assert refusal.value.retry_after is not None
    assert refusal.value.retry_after <= 60
    one.admit(0, 0, NOW + 61)


def test_what_is_undone_was_never_taken() -> None:
    one = limiter(("requests", 2, "hour"), ("tokens", 100, "hour"), ("concurrency", 1, None))
    for _ in range(5):
        undo(one.admit(90, 0, NOW))
    assert used(one) == [0, 0, 0]
    grant = one.admit(100, 0, NOW)
    settle(grant, 60, 0)
    undo(grant)
    assert used(one) == [1, 60, 0], "what is settled can't be undone"


def test_keys_of_one_scope_share_its_count() -> None:
    registry = Registry()
    policy = LimitPolicy("organization", "acme", "requests", 3, "hour")
    shared = Shared((), registry)
    first = Limiter(registry.counters([policy])).for_model("m", shared)
    second = Limiter(registry.counters([policy, LimitPolicy("key", "b", "requests", 1, "hour")])).for_model("m", shared)
    grants = [first.admit(0, 0, NOW), second.admit(0, 0, NOW), first.admit(0, 0, NOW)]
    for one in (first, second):
        with pytest.raises(GatewayError, match=r"organization 'acme'|key 'b'"):
            one.admit(0, 0, NOW)
    assert used(first) == [3]
    assert used(second) == [3, 1]
    # The hour turns for one of them first; what the other held must not reach into the new window.
    first.admit(0, 0, NOW + 3600)
    for grant in grants:
        settle(grant, 0, 0)
    assert used(first) == [1]
    assert used(second) == [1, 1], "its own hour has not turned yet"


def test_limits_of_a_model_and_of_everyone_hold_only_where_they_should() -> None:
    registry = Registry()
    settings = Settings(
        limits=(
            SharedLimit(metric="requests", limit=3, window="hour"),
            SharedLimit(metric="requests", limit=1, window="hour", model="big"),
            SharedLimit(metric="tokens", limit=10, window="hour", provider="up"),
        )
    )
    shared = Shared(shared_limits(settings), registry)
    one, other = Limiter(()), Limiter(())
    one.for_model("big", shared).admit(0, 0, NOW)
    with pytest.raises(GatewayError, match="model 'big'"):
        other.for_model("big", shared).admit(0, 0, NOW)
    other.for_model("small", shared).admit(0, 0, NOW)
    one.for_model("small", shared).admit(0, 0, NOW)
    with pytest.raises(GatewayError, match="the gateway"):
        one.for_model("small", shared).admit(0, 0, NOW)
    assert one.at_providers
    assert one.for_provider("down", "small", shared) is None
    at_provider = one.for_provider("up", "small", shared)
    assert at_provider is not None
    with pytest.raises(GatewayError, match="provider 'up'"):
        at_provider.admit(11, 0, NOW)


def test_a_sliding_window_lets_the_last_one_fade() -> None:
    policy = LimitPolicy("key", "k", "requests", 10, "minute", sliding=True)
    one = CounterSet([Counter(policy)], Era(lambda counter: None))
    start = window_bounds("minute", NOW)[0]
    for _ in range(10):
        settle(one.admit(0, 0, start + 30), 0, 0)

    def room(now: float) -> int:
        count = 0
        while True:
            try:
                one.admit(0, 0, now)
            except GatewayError:
                return count
            count += 1

    assert room(start + 59) == 0
    assert room(start + 60) == 0, "all ten lie within the last minute"
    assert room(start + 90) == 5, "half of the last window's still count"
    assert room(start + 119.9) == 4


@given(
    st.text(max_size=8),
    st.one_of(st.none(), st.text(min_size=1, max_size=8)),
    st.one_of(st.none(), st.text(min_size=1, max_size=8)),
    st.booleans(),
)
def test_a_limits_key_tells_which_limit_it_is(
    scope_id: str, model: str | None, provider: str | None, slides: bool
) -> None:
    policy = LimitPolicy("user", scope_id, "tokens", 0, "hour", sliding=slides, model=model, provider=provider)
    assert LimitPolicy.of_key(policy.key) == policy
    assert policy.key.startswith(LimitPolicy.prefix("user", scope_id))


def test_rate_headers_tell_of_the_tightest_limit() -> None:
    one = limiter(("requests", 100, "minute"), ("requests", 3, "hour"), ("tokens", 5, "hour"))
    one.admit(0, 0, NOW)
    end = int(window_bounds("hour", NOW)[1])
    assert one.rate_lines().decode() == (
        "x-ratelimit-limit: 3\r\nx-ratelimit-remaining: 2\r\n"
        f"x-ratelimit-reset: {end}\r\nx-ratelimit-period: hour\r\nx-ratelimit-window: 3600\r\n"
    )
    assert limiter(("tokens", 5, "hour")).rate_lines() == b""
