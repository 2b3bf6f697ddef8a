"""Whether another target is taken than the best one, so that something is learnt of it.

With a probability of ``share`` one is drawn, evenly, from the targets whose quality is at most ``margin`` below that of
the best choice, itself included. The draw is a hash of the request's id, so that it can be checked afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple


class Explored(NamedTuple):
    """The place that is taken, and the probability of each place to be."""

    place: int
    propensities: list[float]


def drawn(request_id: str) -> float:
    """A number from 0 to below 1: the first 53 of 64 bits of BLAKE2b of the id, as a fraction."""
    digest = blake2b(request_id.encode(), digest_size=8).digest()
    return float((int.from_bytes(digest) >> 11) / (1 << 53))


def explore(qualities: Sequence[float], best: int, share: float, margin: float, request_id: str) -> Explored:
    """Among places with these qualities, of which ``best`` is to be taken otherwise."""
    least = qualities[best] - margin
    eligible = [place for place, quality in enumerate(qualities) if quality >= least] if share > 0.0 else [best]
    propensities = [0.0] * len(qualities)
    if len(eligible) < 2:
        propensities[best] = 1.0
        return Explored(best, propensities)
    for place in eligible:
        propensities[place] = share / len(eligible)
    propensities[best] += 1.0 - share
    number = drawn(request_id)
    if number >= share:
        return Explored(best, propensities)
    return Explored(eligible[min(int(number / share * len(eligible)), len(eligible) - 1)], propensities)
