"""Which targets a request is tried at, in which order: by the model's strategy, by what the request needs, by health.

Weighted draws are Efraimidis & Spirakis 2006, "Weighted random sampling with a reservoir". The quicker of two drawn
targets: Mitzenmacher 2001, "The Power of Two Choices". Affinity is rendezvous hashing (Thaler & Ravishankar 1998) over
the beginning of the prompt, with bounded loads (Mirrokni et al. 2016): what a provider has cached is found again, and
no target gets much more than its share.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Final
from zlib import crc32

from gateway.dataplane.admission.limiter import BYTES_PER_TOKEN, DEFAULT_COMPLETION_TOKENS
from gateway.dataplane.learned.ordering import decided, order_fallback, permitted
from gateway.dataplane.needs import able, fits_all
from gateway.dataplane.pricing import worst_case

if TYPE_CHECKING:
    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.routing import Route
    from gateway.dataplane.target import Target

PREFIX: Final = 4_096
"""Bytes of a prompt that decide where it goes: about the 1,024 tokens from which on providers cache a prompt. Shorter
ones go anywhere."""
BOUND: Final = 1.25
"""How much more than its share of the calls under way a target may have and still get prompts it has cached."""
SLOWER: Final = 3.0
"""How much slower than the quickest a target may be and still get prompts it has cached."""

_MASK: Final = 0xFFFFFFFFFFFFFFFF


def choose(exchange: Exchange, route: Route, now: float) -> list[Target]:
    """Every target to try, each once, those that rest or have no room last. Empty where none serves this endpoint.

    Raises :class:`~gateway.kernel.errors.GatewayError` where some serve it and none can do what is asked for, or a
    learned route has none that meets the client's constraints.
    """
    endpoint = exchange.endpoint
    single = route.single
    fits = not route.picky and fits_all(exchange, route.shortest)
    if single is not None and fits and single[0].serves(endpoint):
        return single
    key = _prompt_key(exchange) if route.sticky else 0
    chain = route.chain
    if route.splits:
        other = _drawn(route, exchange)
        if other is not None:
            chain = (other, *chain)
    found: dict[Target, None] = {}
    for one in chain:
        order = ordered(one, exchange, key, now)
        if one is route and route.learned is not None:
            order = decided(exchange, route, order, now)
        for target in order:
            if target.serves(endpoint):
                found[target] = None
    targets = list(found)
    if route.learned is not None:
        targets = permitted(exchange, targets)
    if not fits and exchange.upload is None:
        targets = able(exchange, targets)
    if len(targets) > 1:
        targets.sort(key=lambda target: target.ready_at(now))
        if route.learned_fallbacks and targets[0] not in route.targets:
            order_fallback(exchange, route, targets, 0, now)
    return targets


def ordered(route: Route, exchange: Exchange, key: int, now: float) -> list[Target]:
    """A model's own targets in the order of its strategy; those of ``ml`` as they are listed, see :func:`decided`.

    ``key`` is that of the prompt, 0 for one without.
    """
    targets = route.targets
    strategy = route.strategy
    if len(targets) == 1 or strategy in ("priority", "ml"):
        return list(targets)
    if strategy == "weighted":
        if key and route.affinity:
            return _near(route, key)
        return _drawn_by_weight(route)
    if strategy == "least_latency":
        return _quickest(route, key, now)
    return _cheapest(targets, exchange)


def _drawn_by_weight(route: Route) -> list[Target]:
    # The largest u^(1/w) first. Its logarithm keeps the order and does not underflow where weights are small.
    draws = [
        (-random.expovariate(1.0) / weight if weight > 0 else -math.inf, index)
        for index, weight in enumerate(route.weights)
    ]
    draws.sort(reverse=True)
    return [route.targets[index] for _, index in draws]


def _near(route: Route, key: int) -> list[Target]:
    """The targets by how near they are to a prompt, the first one with room before all."""
    draws = []
    for index, target in enumerate(route.targets):
        weight = route.weights[index]
        draws.append((math.log(_mixed(key, target.seed)) / weight if weight > 0 else -math.inf, index))
    draws.sort(reverse=True)
    under_way = 1
    for target in route.targets:
        under_way += target.load.pending
    total = sum(route.weights)
    order = [route.targets[index] for _, index in draws]
    for place, (_, index) in enumerate(draws):
        room = math.ceil(BOUND * under_way * route.weights[index] / total)
        if order[place].load.pending < room:
            order.insert(0, order.pop(place))
            break
    return order


def _quickest(route: Route, key: int, now: float) -> list[Target]:
    order = sorted(route.targets, key=lambda target: target.load.cost(now))
    if key and route.affinity:
        near = _near(route, key)[0]
        if near.load.cost(now) <= SLOWER * order[0].load.cost(now) or not near.load.cost(now):
            order.remove(near)
            order.insert(0, near)
            return order
    # Two are drawn and the quicker one taken: where all took the quickest of all, it would not stay so.
    first, second = random.sample(range(len(order)), 2)
    order.insert(0, order.pop(min(first, second)))
    return order


def _cheapest(targets: tuple[Target, ...], exchange: Exchange) -> list[Target]:
    prompt = len(exchange.raw) // BYTES_PER_TOKEN if exchange.is_json else 0
    completion = exchange.max_tokens or DEFAULT_COMPLETION_TOKENS
    costs = [None if target.rate is None else worst_case(target.rate, prompt, completion) for target in targets]
    order = sorted(range(len(targets)), key=lambda index: _or_most(costs[index]))
    return [targets[index] for index in order]


def _or_most(cost: int | None) -> float:
    return math.inf if cost is None else cost


def _prompt_key(exchange: Exchange) -> int:
    """A number for the beginning of a prompt within its organisation; 0 for a short one."""
    fields = exchange.fields
    raw = None if fields is None else fields.get(exchange.spec.prompt)
    if raw is None:
        return 0
    view = memoryview(raw)
    if len(view) < PREFIX:
        return 0
    return crc32(view[:PREFIX], crc32(exchange.organization.encode())) or 1


def _mixed(key: int, seed: int) -> float:
    """A number above 0 and below 1 for a key and a target: the same in every worker (the end of MurmurHash3's mix)."""
    mixed = (key * 0x9E3779B97F4A7C15 ^ seed) & _MASK
    mixed = ((mixed ^ mixed >> 33) * 0xFF51AFD7ED558CCD) & _MASK
    mixed = ((mixed ^ mixed >> 33) * 0xC4CEB9FE1A85EC53) & _MASK
    return ((mixed ^ mixed >> 33) + 1) / (_MASK + 2)


def _drawn(route: Route, exchange: Exchange) -> Route | None:
    """The model that is tried before a route's own targets, if any."""
    upto = 0.0
    drawn = random.random()
    for share, by, other in route.splits:
        place = drawn
        if by != "request":
            name = exchange.credential if by == "credential" else exchange.organization
            place = _mixed(crc32(f"{route.name}\n{name}".encode()), 0)
        if upto <= place < upto + share:
            return other
        upto += share
    return None
