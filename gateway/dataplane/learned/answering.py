"""What AI Marketplace's routing API answers (reference, "ML Routing"), out of decisions.

``estimatedCost`` is US dollars, null of a target whose price nobody knows; ``estimatedLatency`` and ``processingTime``
are whole milliseconds. Providers are named as in ``gateway.yaml``, in capitals; models as their provider calls them.
"""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gateway.contract.envelopes.base import timestamp
from gateway.dataplane.learned.answered import Alternative, Decided, Metrics, Whole

if TYPE_CHECKING:
    from gateway.contract.learned_routes import Decision, Estimate
    from gateway.dataplane.routing import Target

ALTERNATIVES: Final = 3
_COSTS: Final = ("About the same cost", "Lower cost", "Higher cost", "Cost not known")
_LATENCIES: Final = (
    ", about the same latency, quality ",
    ", lower latency, quality ",
    ", higher latency, quality ",
)
_HUNDREDTHS: Final = tuple([f"{number / 100:.2f}" for number in range(101)])
_TENTHS: Final = tuple([f"{number / 10:.1f}" for number in range(1_000)])
_ALIKE: Final = 0.05  # of cost and latency: a difference nobody would choose by


def decided(request_id: str, target: Target, decision: Decision) -> Decided:
    """What is told of one decision of a batch."""
    best = decision.estimates[0]
    dollars = _dollars(target, best)
    return Decided(
        request_id,
        _capitals(target.provider.name),
        target.model,
        dollars,
        _whole(best.seconds * 1000.0),
        _whole(decision.confidence * 1e4) / 1e4,
        _reasoning(decision, best, dollars),
        decision.goal,
    )


def whole(request_id: str, order: list[Target], decision: Decision) -> Whole:
    """What is told of a single decision."""
    first = order[0]
    best = decision.estimates[0]
    dollars = _dollars(first, best)
    return Whole(
        request_id,
        _capitals(first.provider.name),
        first.model,
        dollars,
        _whole(best.seconds * 1000.0),
        _whole(decision.confidence * 1e4) / 1e4,
        _reasoning(decision, best, dollars),
        decision.goal,
        [
            _alternative(target, best, other, is_priced=first.rate is not None)
            for target, other in zip(
                order[1 : ALTERNATIVES + 1], decision.estimates[1 : ALTERNATIVES + 1], strict=False
            )
        ],
        _written(int(time.time())),
    )


def _alternative(target: Target, best: Estimate, other: Estimate, *, is_priced: bool) -> Alternative:
    dollars = _dollars(target, other)
    return Alternative(
        _capitals(target.provider.name),
        target.model,
        dollars,
        _whole(other.seconds * 1000.0),
        _compared(best, other, is_priced=is_priced and dollars is not None),
    )


def metrics(answers: list[Decided], started: float) -> Metrics:
    """What decisions that were begun at ``started`` (``time.perf_counter()``) come to."""
    costs = [one.estimated_cost for one in answers]
    known = [cost for cost in costs if cost is not None]
    spread: dict[str, int] = {}
    for one in answers:
        spread[one.provider] = spread.get(one.provider, 0) + 1
    return Metrics(
        round(sum(known), 9) if len(known) == len(costs) else None,
        round(sum([one.estimated_latency for one in answers]) / len(answers)),
        spread,
        since(started),
    )


def since(started: float) -> int:
    """Whole milliseconds, rounded up."""
    return max(1, math.ceil((time.perf_counter() - started) * 1000))


@lru_cache(maxsize=2)
def _written(second: int) -> str:
    return timestamp(datetime.fromtimestamp(second, UTC))


def _dollars(target: Target, estimate: Estimate) -> float | None:
    return None if target.rate is None else estimate.cost_nanos / 1e9


@lru_cache(maxsize=1_024)
def _capitals(name: str) -> str:
    return name.upper()


def _whole(number: float) -> int:
    """The nearest whole number to one from 0 up: a sixth of the time of :func:`round`."""
    return int(number + 0.5)


def _reasoning(decision: Decision, best: Estimate, dollars: float | None) -> str:
    if decision.fixed:
        why = "The best fixed choice so far"
    elif decision.explored:
        why = "Taken to learn of it"
    else:
        why = f"Optimized for {decision.goal}"
    # Formatting a number takes as long as all the rest.
    cost = "at a price nobody knows" if dollars is None else "for $" + _written_out(best.cost_nanos)
    tenths = int(best.seconds * 10.0 + 0.5)
    seconds = _TENTHS[tenths] if tenths < len(_TENTHS) else f"{best.seconds:.1f}"
    quality = _HUNDREDTHS[int(best.quality * 100.0 + 0.5)]
    return f"{why}: answers such prompts ({decision.task}) well with a probability of {quality}, {cost} in {seconds} s"


def _written_out(nanos: int) -> str:
    """Dollars with six places."""
    millionths = (nanos + 500) // 1000
    if millionths < 1_000_000:
        return "0." + str(1_000_000 + millionths)[1:]
    return f"{millionths / 1e6:.6f}"


def _compared(best: Estimate, other: Estimate, *, is_priced: bool) -> str:
    cost = _than(other.cost_nanos, best.cost_nanos) if is_priced else -1
    latency = _than(other.seconds, best.seconds)
    ours, others = _HUNDREDTHS[int(best.quality * 100.0 + 0.5)], _HUNDREDTHS[int(other.quality * 100.0 + 0.5)]
    return _COSTS[cost] + _LATENCIES[latency] + others + " instead of " + ours


def _than(value: float, of: float) -> int:
    """0 where they are about the same, 1 where a value is lower than another, 2 where it is higher."""
    if abs(value - of) <= _ALIKE * max(of, 1e-9):
        return 0
    return 1 if value < of else 2
