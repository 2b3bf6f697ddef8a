"""Decisions that are made together: spread over providers, the most important ones choosing first.

Each provider gets at most an even share of the batch, rounded up. In the order of their priority, requests take their
best target at a provider with room left, unless that is worth ``LOSS`` less to them than their best of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from gateway.dataplane.learned.question import Chosen
from gateway.routing.confidence import confidence

LOSS: Final = 0.05
"""Of utility, which is counted in probability of a good answer."""


def balance(found: Sequence[Chosen], order: Sequence[int]) -> list[Chosen]:
    """The decisions as they are taken together; ``order`` has the places of ``found``, the most important first."""
    providers = {target.provider.name for chosen in found for target in chosen.order}
    room = dict.fromkeys(providers, -(-len(found) // max(1, len(providers))))
    taken = list(found)
    for place in order:
        chosen = _with_room(found[place], room)
        room[chosen.order[0].provider.name] -= 1
        taken[place] = chosen
    return taken


def _with_room(chosen: Chosen, room: dict[str, int]) -> Chosen:
    best = chosen.ranked[0].utility
    for place, (target, estimate) in enumerate(zip(chosen.order, chosen.ranked, strict=False)):
        if estimate.utility < best - LOSS:
            break
        if room[target.provider.name] > 0:
            return _first(chosen, place)
    return chosen


def _first(chosen: Chosen, place: int) -> Chosen:
    """With another target before all. That is certain, given the batch: nothing else could have been taken."""
    if not place:
        return chosen
    order, ranked, told = list(chosen.order), list(chosen.ranked), list(chosen.told.estimates)
    order.insert(0, order.pop(place))
    ranked.insert(0, ranked.pop(place))
    told.insert(0, told.pop(place))
    estimates = tuple(replace(one, propensity=0.0 if at else 1.0) for at, one in enumerate(told))
    sure = round(confidence(ranked), 6)
    decision = replace(
        chosen.told, chosen=estimates[0].target, confidence=sure, estimates=estimates, explored=False, fixed=False
    )
    return Chosen(order, decision, ranked)
