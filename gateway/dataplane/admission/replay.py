"""What usage events say about limits: which limit counts an event, and as how much."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.contract.policy import LimitPolicy, Scope
from gateway.contract.usage import UsageEvent


def scopes_of(event: UsageEvent) -> Iterator[tuple[Scope, str]]:
    """The scopes whose limits may count an event."""
    yield "key", event.credential
    yield "organization", event.organization
    yield "global", ""
    yield "model", event.model
    if event.user is not None:
        yield "user", event.user
    if event.provider is not None:
        yield "provider", event.provider


def counts(policy: LimitPolicy, event: UsageEvent) -> bool:
    """Whether a limit of one of the event's scopes counts it. Shadows count against nobody's limits."""
    if event.outcome == "shadow":
        return False
    return policy.model in (None, event.model) and policy.provider in (None, event.provider)


def amount_of(metric: str, event: UsageEvent) -> int:
    """As how much: one request, tokens, or nano-dollars."""
    if metric == "tokens":
        return event.tokens.prompt + event.tokens.completion
    return (event.cost_nanos or 0) if metric == "cost" else 1
