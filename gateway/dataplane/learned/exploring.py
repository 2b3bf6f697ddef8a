"""Whether another target is taken than the best one, so that something is learnt of it.

With a probability of ``share`` one is drawn, evenly, from the targets whose quality is at most ``margin`` below that of
the best choice, itself included. The draw is a hash of the request's id, so that it can be checked afterwards.

Where the organization's feedback has left in doubt how good targets are, the best choice itself is the one of which
most can be hoped (:func:`hopeful`). Nothing of that is drawn: it is in the probabilities as any other best choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, TypeAlias

HOPE: Final = 0.7
"""Standard deviations of a logit by which a target in doubt is taken to be better than is expected."""
_EDGE: Final = 1e-6
_NOTHING: Final = blake2b(digest_size=8)


Explored: TypeAlias = tuple[int, list[float]]
"""The place that is taken, and the probability of each place to be."""


def hopeful(qualities: Sequence[float], utilities: Sequence[float], doubts: Sequence[float], margin: float) -> int:
    """The place that would be worth most if each were better by as much as can be hoped: among those whose utility is
    at most ``margin`` below the best, which is the first place's."""
    least = utilities[0] - margin
    best, most = 0, -math.inf
    for place, (quality, utility, doubt) in enumerate(zip(qualities, utilities, doubts, strict=True)):
        if utility < least:
            continue
        kept = min(max(quality, _EDGE), 1.0 - _EDGE)
        hoped = utility - kept + kept / (kept + (1.0 - kept) * math.exp(-HOPE * doubt))
        if hoped > most:
            best, most = place, hoped
    return best


def drawn(request_id: str) -> float:
    """A number from 0 to below 1: the first 53 of 64 bits of BLAKE2b of the id, as a fraction."""
    return _fraction(_hash(request_id))


def _hash(request_id: str) -> bytes:
    hashed = _NOTHING.copy()  # two thirds of the time it takes to begin anew
    hashed.update(request_id.encode())
    return hashed.digest()


def _fraction(digest: bytes) -> float:
    return float((int.from_bytes(digest) >> 11) / (1 << 53))


def explore(qualities: list[float], best: int, share: float, margin: float, request_id: str) -> Explored:
    """Among places with these qualities, of which ``best`` is to be taken otherwise."""
    propensities = [0.0] * len(qualities)
    eligible = []
    if share > 0.0:
        least = qualities[best] - margin
        eligible = [place for place, quality in enumerate(qualities) if quality >= least]
    if len(eligible) < 2:
        propensities[best] = 1.0
        return best, propensities
    each = share / len(eligible)
    for place in eligible:
        propensities[place] = each
    propensities[best] = each + (1.0 - share)
    digest = _hash(request_id)
    if digest[0] / 256.0 >= share:
        return best, propensities  # nearly always: the bits behind the first eight only add to them
    number = _fraction(digest)
    if number >= share:
        return best, propensities
    return eligible[min(int(number / share * len(eligible)), len(eligible) - 1)], propensities
