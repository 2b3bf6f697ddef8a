"""What an answer tells of the target that gave it: how long it took, how long it was, what was cached of its prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.contract.usage import UsageEvent
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.learned.observed import Observed
    from gateway.dataplane.target import Target


def note(exchange: Exchange, event: UsageEvent, target: Target, seen: Observed) -> None:
    """Learn from one request that is over; of one that was not answered whole by one target nothing."""
    tokens = event.tokens
    if event.outcome != "ok" or not exchange.spec.generates or not tokens.completion or not event.attempts:
        return
    last = event.attempts[-1]
    if last.reason != "ok" or exchange.seam is not None or (last.provider, last.model) != (
        target.provider.name, target.model,
    ):  # fmt: skip
        return
    first = None
    if event.stream and event.first_token_ns is not None:
        first = max(0.0, (event.first_token_ns - last.started_ns) / 1e9)
    seen.read(tokens.prompt, tokens.cached)
    seen.answered(last.duration_ns / 1e9, tokens.completion, first)
    decision = event.decision
    if decision is None or exchange.max_tokens is not None:
        return  # an answer that was cut says nothing of how long it would have been
    for estimate in decision.estimates:
        if estimate.target == target.name and estimate.tokens:
            lessons = exchange.wire.worker.taught.of(event.organization)
            lessons.answered(target.name, tokens.completion * estimate.length / estimate.tokens)
