"""A target whose price nobody knows is not told to cost nothing."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.contract.learned_routes import Decision, Estimate
from gateway.dataplane.learned import answering
from gateway.dataplane.learned.question import Chosen
from gateway.dataplane.learned.telling import lines_of
from gateway.dataplane.pricing import Rate
from gateway.dataplane.target import Target
from gateway.dataplane.upstream.pool import Pool
from gateway.dataplane.upstream.resolver import Resolver
from gateway.routing.estimates import Estimate as Expected
from gateway.settings.model import Provider

ESTIMATES = (Estimate("a/x", 0.8, 2_000_000, 1.0), Estimate("b/y", 0.7, 1_000_000, 1.0))
RANKED = [
    Expected(each.target, each.quality, 0.0, each.cost_nanos / 1e9, each.seconds, 0.0, 0.0, 0.0, 0.0)
    for each in ESTIMATES
]
DECISION = Decision("a/x", "chat", "cost", 0.9, ESTIMATES)


def target(name: str, *, is_priced: bool) -> Target:
    provider = Provider(name=name, base_url="http://a.test/v1")
    loop = asyncio.get_running_loop()
    pool = Pool(provider, "http://a.test/v1", loop, Resolver(loop))
    return Target(provider, "m", pool, Rate(1, 1, 1) if is_priced else None)


@pytest.mark.parametrize("is_priced", [True, False])
async def test_a_cost_is_told_where_there_is_a_price(is_priced: bool) -> None:
    order = [target("a", is_priced=is_priced), target("b", is_priced=True)]
    told = answering.whole("req_1", Chosen(order, DECISION, RANKED), 0)
    assert told.timestamp == "1970-01-01T00:00:00Z"
    assert told.estimated_cost == (0.002 if is_priced else None)
    assert told.alternatives[0].estimated_cost == 0.001
    assert ("$0.002000" in told.reasoning, "nobody knows" in told.reasoning) == (is_priced, not is_priced)
    assert told.alternatives[0].reasoning.startswith("Lower cost" if is_priced else "Cost not known")
    assert answering.metrics([told], time.perf_counter()).total_estimated_cost == told.estimated_cost
    assert (b"x-gateway-estimated-cost: 0.002000000\r\n" in lines_of(DECISION, is_priced=is_priced)) == is_priced
