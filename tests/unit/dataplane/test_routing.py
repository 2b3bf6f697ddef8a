"""Which targets a request may go to, in which order, and who rests."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from gateway.dataplane.choosing import choose
from gateway.dataplane.routing import Router, router_from
from gateway.dataplane.upstream.pool import Pool
from gateway.dataplane.upstream.resolver import Resolver
from gateway.kernel.errors import GatewayError, Kind
from gateway.settings.model import Breaker, Concurrency, Model, Price, Provider, Retry, Settings, Target
from tests.support.asked import asked

CHAT = "chat.completions"


def router(models: Iterable[Model], prices: tuple[Price, ...] = (), **fields: Any) -> Router:
    """A router over the providers a, b, c and the local engine ``l``."""
    providers = [Provider(name=name, base_url=f"http://{name}.test/v1", **fields) for name in "abc"]
    providers.append(Provider(name="l", kind="llama_cpp", model="tiny"))
    loop = asyncio.get_running_loop()
    pools = {each.name: Pool(each, each.base_url or "unix:/none", loop, Resolver(loop)) for each in providers}
    return router_from(Settings(providers=tuple(providers), models=tuple(models), pricing=prices), pools)


def model(name: str, *targets: str | tuple[str, float], **fields: Any) -> Model:
    found = [(each, 1.0) if isinstance(each, str) else each for each in targets]
    return Model(
        name=name, targets=tuple(Target(provider=where, model="x", weight=weight) for where, weight in found), **fields
    )


def order(one: Router, name: str = "m", now: float = 0.0, endpoint: str = CHAT) -> list[str]:
    return [target.provider.name for target in choose(asked(endpoint), one.find(name, frozenset()), now)]


async def test_priority_takes_targets_as_listed_then_fallbacks_breadth_first() -> None:
    one = router(
        [
            model("m", "b", fallbacks=("n", "o")),
            model("n", "a", fallbacks=("p", "m")),
            model("o", "b", "c"),
            model("p", "l"),
        ]
    )
    assert order(one) == ["b", "a", "c", "l"]
    assert order(one, "n") == ["a", "l", "b", "c"]


async def test_a_local_target_serves_what_the_engine_can() -> None:
    one = router([model("m", "l", "a")])
    assert order(one) == ["l", "a"]
    assert order(one, endpoint="audio.speech") == ["a"]
    assert order(router([model("m", "l")]), endpoint="audio.speech") == []


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e4])
async def test_weights_are_shares_of_the_requests(scale: float) -> None:
    one = router([model("m", ("a", 6 * scale), ("b", 3 * scale), ("c", 1 * scale), strategy="weighted")])
    draws = 6000
    first = Counter(order(one)[0] for _ in range(draws))
    for name, share in (("a", 0.6), ("b", 0.3), ("c", 0.1)):
        assert abs(first[name] / draws - share) < 0.05, first  # seven standard deviations
    assert all(sorted(order(one)) == ["a", "b", "c"] for _ in range(20))


async def test_a_weight_of_zero_is_asked_last_of_all() -> None:
    one = router([model("m", ("a", 0.0), ("b", 1.0), ("c", 0.001), strategy="weighted")])
    assert {order(one)[-1] for _ in range(200)} == {"a"}


async def test_without_the_strategy_weights_mean_nothing() -> None:
    one = router([model("m", ("a", 0.1), ("b", 100.0))])
    assert {tuple(order(one)) for _ in range(50)} == {("a", "b")}


async def test_a_target_rests_after_its_failures_and_comes_back() -> None:
    one = router([model("m", "a", "b")], breaker=Breaker(failures=3, cooldown=10))
    first = one.find("m", frozenset()).targets[0]
    for _ in range(2):
        first.breaker.failed(100.0)
    assert order(one, now=100.0) == ["a", "b"]
    first.breaker.failed(100.0)
    assert order(one, now=109.9) == ["b", "a"], "it rests, and is still tried where nobody else answers"
    assert order(one, now=110.0) == ["a", "b"]
    first.breaker.failed(111.0)
    assert order(one, now=112.0) == ["b", "a"], "one more failure after its rest and it rests again"
    first.breaker.succeeded()
    assert order(one, now=112.0) == ["a", "b"]
    first.breaker.failed(113.0)
    assert order(one, now=113.0) == ["a", "b"], "failures count in a row"


async def test_models_share_the_breaker_of_a_target_whatever_its_weight() -> None:
    one = router([model("m", ("a", 1.0), "b"), model("n", ("a", 5.0), "b")], breaker=Breaker(failures=1, cooldown=10))
    one.find("m", frozenset()).targets[0].breaker.failed(0.0)
    assert order(one, "n", now=5.0) == ["b", "a"]


async def test_what_one_model_says_of_a_target_holds_for_all_that_name_it() -> None:
    said = Target(provider="a", model="x", prefill="message"), Target(provider="a", model="x", context_length=9)
    models = [Model(name=name, targets=(target,)) for name, target in zip("mn", said, strict=True)]
    one = router([model("l", "a"), *models])
    (target,) = {one.find(name, frozenset()).targets[0] for name in "lmn"}
    assert (target.prefill, target.offers.context_length) == ("message", 9)


async def test_a_reload_keeps_what_is_known_of_a_target_that_stays() -> None:
    """A breaker that other rules made is not kept: its cooldown would be another one."""
    rules = Breaker(failures=1, cooldown=600)
    before = router([model("m", "a", "b")], breaker=rules)
    target = before.find("m", frozenset()).targets[0]
    target.breaker.failed(0.0)
    target.budget.left = 3.0
    same = router([model("n", "b", "a")], breaker=rules)
    same.take_over(before)
    assert order(same, "n", now=5.0) == ["b", "a"]
    assert same.find("n", frozenset()).targets[1].breaker is target.breaker
    assert same.find("n", frozenset()).targets[1].budget.left == 3.0
    other = router([model("m", "a", "b")], breaker=Breaker(failures=1, cooldown=1), retry=Retry(budget=0.5))
    other.take_over(before)
    assert order(other, now=5.0) == ["a", "b"]
    assert other.find("m", frozenset()).targets[0].budget.left > 3.0


async def test_a_target_without_room_is_asked_after_those_that_have_some() -> None:
    one = router([model("m", "a", "b")], concurrency=Concurrency(min=2, max=2))
    first, second = one.find("m", frozenset()).targets
    assert first.limit is not None
    assert second.limit is not None
    assert first.limit.take()
    assert order(one) == ["a", "b"]
    assert first.limit.take()
    assert (first.has_room, second.has_room) == (False, True)
    assert order(one, now=100.0) == ["b", "a"]
    second.breaker.limited(100.0, 30.0)
    assert order(one, now=100.0) == ["a", "b"], "a place may be free before the other is to be asked again"
    first.limit.release(None)
    assert order(one) == ["a", "b"]


async def test_a_reload_keeps_the_calls_under_way() -> None:
    before = router([model("m", "a", "b")], concurrency=Concurrency(initial=9))
    limit = before.find("m", frozenset()).targets[0].limit
    assert limit is not None
    assert limit.take()
    same = router([model("m", "a", "b")], concurrency=Concurrency(max=5))
    same.take_over(before)
    assert same.find("m", frozenset()).targets[0].limit is limit
    assert (limit.limit, limit.in_flight) == (5, 1)
    without = router([model("m", "a", "b")])
    without.take_over(same)
    assert without.find("m", frozenset()).targets[0].limit is None
    again = router([model("m", "a", "b")], concurrency=Concurrency())
    again.take_over(without)
    fresh = again.find("m", frozenset()).targets[0].limit
    assert fresh is not None
    assert fresh.in_flight == 0


async def test_an_unknown_model_and_a_forbidden_one() -> None:
    one = router([model("m", "a"), model("n", "b")])
    with pytest.raises(GatewayError, match="'zzz' does not exist") as error:
        one.find("zzz", frozenset())
    assert (error.value.kind, error.value.code, error.value.field) == (Kind.NOT_FOUND, "model_not_found", "model")
    assert one.find("m", frozenset(("m",))).name == "m"
    with pytest.raises(GatewayError) as error:
        one.find("n", frozenset(("m",)))
    assert (error.value.kind, error.value.code) == (Kind.FORBIDDEN, "model_not_allowed")
    with pytest.raises(GatewayError) as error:
        one.find("z" * 10_000, frozenset())
    assert len(error.value.message) < 400


async def test_prices_belong_to_the_providers_model_and_local_models_are_free() -> None:
    price = Price(provider="a", model="x", input_per_1k=0.001, output_per_1k=0.002)
    one = router([model("m", "a", "b", "l")], (price,))
    rates = [target.rate for target in one.find("m", frozenset()).targets]
    assert rates[0] == (1_000_000, 1_000_000, 2_000_000)
    assert rates[1] is None
    assert rates[2] == (0, 0, 0)
