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
    from gateway.contract.learned_routes import Decision
    from gateway.dataplane.learned.question import Chosen
    from gateway.dataplane.target import Target
    from gateway.routing.estimates import Estimate

ALTERNATIVES: Final = 3
_COSTS: Final = ("About the same cost", "Lower cost", "Higher cost", "Cost not known")
_UNKNOWN: Final = 3
_LATENCIES: Final = ("about the same", "lower", "higher")
_COMPARED: Final = tuple([f"{cost}, {latency} latency, quality " for cost in _COSTS for latency in _LATENCIES])
_HUNDREDTHS: Final = tuple([f"{number / 100:.2f}" for number in range(101)])
_TENTHS: Final = tuple([f"{number / 10:.1f}" for number in range(1_000)])
_ALIKE: Final = 0.05  # of cost and latency: a difference nobody would choose by


def decided(request_id: str, chosen: Chosen) -> Decided:
    """What is told of one decision of a batch."""
    first, best, told = chosen.order[0], chosen.ranked[0], chosen.told
    return Decided(
        request_id,
        first.capitals,
        first.model,
        _dollars(first, best),
        _whole(best.seconds * 1000.0),
        _whole(told.confidence * 1e4) / 1e4,
        _reasoning(told, first, best),
        told.goal,
    )


def whole(request_id: str, chosen: Chosen, second: int) -> Whole:
    """What is told of a single decision that was asked for in this second of Unix time."""
    first, best, told = chosen.order[0], chosen.ranked[0], chosen.told
    instead = " instead of " + _of_hundred(best)
    alternatives = []
    for place in range(1, min(len(chosen.ranked), ALTERNATIVES + 1)):
        target, other = chosen.order[place], chosen.ranked[place]
        is_priced = first.rate is not None and target.rate is not None
        compared = _compared(best, other, is_priced=is_priced) + _of_hundred(other) + instead
        alternatives.append(
            Alternative(
                target.capitals, target.model, _dollars(target, other), _whole(other.seconds * 1000.0), compared
            )
        )
    return Whole(
        request_id,
        first.capitals,
        first.model,
        _dollars(first, best),
        _whole(best.seconds * 1000.0),
        _whole(told.confidence * 1e4) / 1e4,
        _reasoning(told, first, best),
        told.goal,
        alternatives,
        _written(second),
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
    return None if target.rate is None else estimate.nanos / 1e9


def _whole(number: float) -> int:
    """The nearest whole number to one from 0 up: a sixth of the time of :func:`round`."""
    return int(number + 0.5)


def _of_hundred(estimate: Estimate) -> str:
    return _HUNDREDTHS[int(estimate.quality * 100.0 + 0.5)]


def _reasoning(told: Decision, target: Target, best: Estimate) -> str:
    if told.fixed:
        why = "The best fixed choice so far"
    elif told.explored:
        why = "Taken to learn of it"
    else:
        why = f"Optimized for {told.goal}"
    # Formatting a number takes as long as all the rest.
    cost = "at a price nobody knows" if target.rate is None else "for $" + _written_out(best.nanos)
    tenths = int(best.seconds * 10.0 + 0.5)
    seconds = _TENTHS[tenths] if tenths < len(_TENTHS) else f"{best.seconds:.1f}"
    quality = _of_hundred(best)
    return f"{why}: answers such prompts ({told.task}) well with a probability of {quality}, {cost} in {seconds} s"


def _written_out(nanos: int) -> str:
    """Dollars with six places."""
    millionths = (nanos + 500) // 1000
    if millionths < 1_000_000:
        return "0." + str(1_000_000 + millionths)[1:]
    return f"{millionths / 1e6:.6f}"


def _compared(best: Estimate, other: Estimate, *, is_priced: bool) -> str:
    cost = _than(float(other.nanos), float(best.nanos)) if is_priced else _UNKNOWN
    return _COMPARED[cost * 3 + _than(other.seconds, best.seconds)]


def _than(value: float, of: float) -> int:
    """0 where they are about the same, 1 where a value is lower than another, 2 where it is higher."""
    near = _ALIKE * (of if of > 1e-9 else 1e-9)
    if value - of > near:
        return 2
    return 1 if of - value > near else 0
