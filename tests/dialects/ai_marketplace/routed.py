"""Decisions of learned routes as the ledger has them, without a gateway."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec

from gateway.contract.learned_routes import Decision, Estimate
from gateway.contract.usage import Tokens
from gateway.domain.analytics.periods import to_ns
from gateway.domain.learning.keeping import ADVICE
from gateway.domain.ledger.ingest import Batch, Line, ingest
from gateway.domain.ledger.rating import NoPrices
from gateway.kernel.ids import new_id
from gateway.store.engine import Store
from tests.support.usage import usage_event

STRONG = Estimate("anthropic/claude-3-5-sonnet-20241022", 0.9, 23_400_000, 1.89, 0.99, tokens=300)
CHEAP = Estimate("openai/gpt-4o-mini", 0.885, 2_000_000, 2.1, 0.01, tokens=300)
DECISION = Decision(STRONG.target, "code", "balanced", 0.94, (STRONG, CHEAP))


async def routed(
    store: Store,
    at: datetime,
    credential: str,
    *,
    decision: Decision | None = DECISION,
    organization: str = "acme",
    ago: timedelta = timedelta(0),
    **changes: Any,
) -> str:
    """Enter the event of a decision that ``/v1/ml/route`` told, or with an ``endpoint`` and what came of it one that
    was acted on; gives its id."""
    id = new_id("req")
    chosen = STRONG.target if decision is None else decision.chosen
    provider, _, model = chosen.partition("/")
    started = to_ns(at - ago)
    given: dict[str, Any] = {
        "id": id,
        "endpoint": ADVICE,
        "organization": organization,
        "credential": credential,
        "started_ns": started,
        "first_token_ns": None,
        "ended_ns": started + 1_000_000,
        "model": "auto",
        "provider": provider,
        "target": model,
        "attempts": [],
        "tokens": Tokens(),
        "cost_nanos": 0,
        "decision": decision,
    }
    line = Line(0, msgspec.json.encode(usage_event(**{**given, **changes})))
    entered = await ingest(store, Batch(f"test/{id}", 0, 1, [line]), NoPrices())
    assert entered.entries == 1
    return id
