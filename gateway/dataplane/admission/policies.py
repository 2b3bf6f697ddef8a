"""The limits that ``gateway.yaml`` sets, in the form every limit has."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.contract.policy import LimitPolicy, Scope, Source
from gateway.kernel.money import to_nanos
from gateway.settings.model import Key, Limit, Plan, Settings, SharedLimit


def limits_of_key(key: Key, plans: dict[str, Plan]) -> tuple[LimitPolicy, ...]:
    """The limits of a static key: its own, its budget, its plan's. A plan's are counted for each static key apart."""
    return tuple(_limits_of_key(key, plans))


def _limits_of_key(key: Key, plans: dict[str, Plan]) -> Iterator[LimitPolicy]:
    for limit in key.limits:
        yield _policy(limit, "key", key.name, "limit")
    if key.budget is not None:
        nanos, period = to_nanos(key.budget.amount), key.budget.period
        yield LimitPolicy("key", key.name, "cost", nanos, period, source="budget")
    if key.plan is not None:
        for limit in plans[key.plan].limits:
            yield _policy(limit, "key", key.name, "plan", key.plan)


def shared_limits(settings: Settings) -> tuple[LimitPolicy, ...]:
    """The limits that all callers share."""
    return tuple(_policy(limit, *_scope_of(limit), "limit") for limit in settings.limits)


def _scope_of(limit: SharedLimit) -> tuple[Scope, str]:
    if limit.provider is not None:
        return "provider", limit.provider
    return ("model", limit.model) if limit.model is not None else ("global", "")


def _policy(limit: Limit | SharedLimit, scope: Scope, scope_id: str, source: Source, name: str = "") -> LimitPolicy:
    most = to_nanos(limit.limit) if limit.metric == "cost" else int(limit.limit)
    return LimitPolicy(
        scope,
        scope_id,
        limit.metric,
        most,
        limit.window,
        sliding=limit.sliding,
        model=limit.model,
        provider=limit.provider,
        source=source,
        name=name,
    )
