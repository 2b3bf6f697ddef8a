"""What AI Marketplace's routing API answers (reference, "ML Routing"), out of decisions.

``estimatedCost`` is US dollars, null of a target whose price nobody knows; ``estimatedLatency`` and ``processingTime``
are whole milliseconds. Providers are named as in ``gateway.yaml``, in capitals; models as their provider calls them.
"""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from gateway.contract.envelopes.base import timestamp

if TYPE_CHECKING:
    from gateway.contract.learned_routes import Decision, Estimate
    from gateway.dataplane.routing import Target

ALTERNATIVES: Final = 3
_ALIKE: Final = 0.05  # of cost and latency: a difference nobody would choose by

Json = dict[str, Any]


def decided(request_id: str, target: Target, decision: Decision) -> Json:
    """What both operations tell of one decision."""
    best = decision.estimates[0]
    return {
        "requestId": request_id,
        "provider": target.provider.name.upper(),
        "model": target.model,
        "estimatedCost": _dollars(target, best),
        "estimatedLatency": round(best.seconds * 1000),
        "confidence": round(decision.confidence, 4),
        "reasoning": _reasoning(decision, _dollars(target, best)),
        "optimizationType": decision.goal,
    }


def whole(request_id: str, order: list[Target], decision: Decision) -> Json:
    """The ``data`` of a single decision."""
    best = decision.estimates[0]
    found = decided(request_id, order[0], decision)
    found["alternatives"] = [
        {
            "provider": target.provider.name.upper(),
            "model": target.model,
            "estimatedCost": _dollars(target, other),
            "estimatedLatency": round(other.seconds * 1000),
            "reasoning": _compared(best, other, is_priced=order[0].rate is not None and target.rate is not None),
        }
        for target, other in zip(order[1 : ALTERNATIVES + 1], decision.estimates[1:], strict=False)
    ]
    found["timestamp"] = _written(int(time.time()))
    return found


def metrics(answers: list[Json], started: float) -> Json:
    """The ``batchMetrics`` of decisions that were begun at ``started`` (``time.perf_counter()``)."""
    costs = [one["estimatedCost"] for one in answers]
    spread: dict[str, int] = {}
    for one in answers:
        spread[one["provider"]] = spread.get(one["provider"], 0) + 1
    return {
        "totalEstimatedCost": round(sum(costs), 9) if None not in costs else None,
        "avgEstimatedLatency": round(sum(one["estimatedLatency"] for one in answers) / len(answers)),
        "providerDistribution": spread,
        "processingTime": since(started),
    }


def since(started: float) -> int:
    """Whole milliseconds, rounded up."""
    return max(1, math.ceil((time.perf_counter() - started) * 1000))


@lru_cache(maxsize=2)
def _written(second: int) -> str:
    return timestamp(datetime.fromtimestamp(second, UTC))


def _dollars(target: Target, estimate: Estimate) -> float | None:
    return None if target.rate is None else estimate.cost_nanos / 1e9


def _reasoning(decision: Decision, dollars: float | None) -> str:
    best = decision.estimates[0]
    why = "Taken to learn of it" if decision.explored else f"Optimized for {decision.goal}"
    if decision.fixed:
        why = "The best fixed choice so far"
    cost = "at a price nobody knows" if dollars is None else f"for ${dollars:.6f}"
    return (
        f"{why}: answers such prompts ({decision.task}) well with a probability of {best.quality:.2f},"
        f" {cost} in {best.seconds:.1f} s"
    )


def _compared(best: Estimate, other: Estimate, *, is_priced: bool) -> str:
    cost = _than(other.cost_nanos, best.cost_nanos, "lower", "higher", "cost") if is_priced else "cost not known"
    latency = _than(other.seconds, best.seconds, "lower", "higher", "latency")
    return f"{cost}, {latency}, quality {other.quality:.2f} instead of {best.quality:.2f}".capitalize()


def _than(value: float, of: float, less: str, more: str, noun: str) -> str:
    if abs(value - of) <= _ALIKE * max(of, 1e-9):
        return f"about the same {noun}"
    return f"{less if value < of else more} {noun}"
