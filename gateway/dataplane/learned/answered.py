"""What AI Marketplace's routing API answers (reference, "ML Routing"), as it goes over the wire.

Nothing of it can hold itself, so the collector of garbage need not know of it (``gc=False``).
"""

from __future__ import annotations

from msgspec import Struct


class Alternative(Struct, rename="camel", gc=False):
    """Another target. ``estimated_cost`` is US dollars, None where nobody knows a price; latencies are milliseconds."""

    provider: str
    model: str
    estimated_cost: float | None
    estimated_latency: int
    reasoning: str


class Decided(Struct, rename="camel", gc=False):
    """One decision of a batch."""

    request_id: str
    provider: str
    model: str
    estimated_cost: float | None
    estimated_latency: int
    confidence: float
    reasoning: str
    optimization_type: str


class Whole(Decided, rename="camel", gc=False):
    """A single decision."""

    alternatives: list[Alternative]
    timestamp: str


class Meta(Struct, rename="camel", gc=False):
    """What it took of the caller's limits, and of time: ``processing_time`` is milliseconds."""

    tier: str | None
    remaining_requests: int | None
    processing_time: int


class Metrics(Struct, rename="camel", gc=False):
    """What the decisions of a batch come to."""

    total_estimated_cost: float | None
    avg_estimated_latency: int
    provider_distribution: dict[str, int]
    processing_time: int


class Batch(Struct, rename="camel", gc=False):
    """Decisions that were made together."""

    batch_id: str
    responses: list[Decided]
    batch_metrics: Metrics


class Answer(Struct, gc=False):
    """The whole body of a single decision's answer."""

    success: bool
    data: Whole
    meta: Meta


class BatchAnswer(Struct, gc=False):
    """The whole body of a batch's answer."""

    success: bool
    data: Batch
