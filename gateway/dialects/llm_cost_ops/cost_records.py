"""A cost for itself, as this reference lists it."""

from __future__ import annotations

from typing import Any

from gateway.dialects.common.models import Answer, Dollars, Instant
from gateway.dialects.llm_cost_ops.entries import shown
from gateway.domain.analytics.periods import of_ns
from gateway.domain.ledger.model import LedgerEntry


class CostRecord(Answer):
    """One entry of the ledger. ``total_cost`` is null where nobody knows the price.

    ``kind`` is ``usage``, ``external`` (reported), or what corrects the entry ``corrects``: a ``reversal`` takes it
    back, with its numbers negated, and an ``adjustment`` enters it again.
    """

    id: str
    kind: str
    corrects: str | None
    timestamp: Instant
    organization_id: str
    provider: str | None
    model_id: str
    requests: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_tokens: int
    total_cost: Dollars | None
    currency: str = "USD"
    tags: list[str]
    metadata: dict[str, Any]
    created_at: Instant


def cost_record(entry: LedgerEntry) -> CostRecord:
    """An entry as it is."""
    return CostRecord(
        **shown(entry),
        kind=entry.kind,
        corrects=entry.corrects,
        requests=entry.requests,
        total_cost=entry.cost_nanos,
        created_at=of_ns(entry.recorded_ns),
    )
