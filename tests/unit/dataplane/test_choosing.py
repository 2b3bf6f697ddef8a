"""Strategies, affinity, splits and abilities: which targets a request is tried at, in which order."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.choosing import BOUND, PREFIX, choose
from gateway.dataplane.exchange import Exchange
from gateway.dataplane.load import DECAY, LEAST, Load
from gateway.dataplane.routing import Route, Router, router_from
from gateway.dataplane.upstream.pool import Pool
from gateway.dataplane.upstream.resolver import Resolver
from gateway.kernel.errors import GatewayError, Kind
from gateway.settings.model import Model, Price, Provider, Settings, Split, Target
from tests.support.asked import asked


def router(*models: Model, prices: tuple[Price, ...] = ()) -> Router:
    providers = [Provider(name=name, base_url=f"http://{name}.test/v1") for name in "abc"]
    providers.append(Provider(name="l", kind="llama_cpp", model="tiny"))
    loop = asyncio.get_running_loop()
    pools = {each.name: Pool(each, each.base_url or "unix:/none", loop, Resolver(loop)) for each in providers}
    return router_from(Settings(providers=tuple(providers), models=models, pricing=prices), pools)


def target(provider: str, **fields: Any) -> Target:
    return Target(provider=provider, model="x", **fields)


def model(*targets: Target, name: str = "m", **fields: Any) -> Model:
    return Model(name=name, targets=targets, **fields)


def order(route: Route, request: Exchange | None = None, now: float = 100.0) -> list[str]:
    return [one.provider.name for one in choose(request or asked(), route, now)]


def long(number: int, more: str = "", **fields: Any) -> Exchange:
    """A request whose prompt has a beginning of its own, long enough for a provider to cache it."""
    return asked(messages=[{"role": "system", "content": f"{number:08}" * (PREFIX // 8)}, {"content": more}], **fields)


# least_latency


async def test_the_quicker_of_two_is_asked() -> None:
    route = router(model(target("a"), target("b"), strategy="least_latency")).routes["m"]
    route.targets[0].load.answered(2.0, 100.0)
    route.targets[1].load.answered(0.5, 100.0)
    assert {tuple(order(route)) for _ in range(20)} == {("b", "a")}
    route.targets[1].load.pending = 4
    assert {tuple(order(route)) for _ in range(20)} == {("a", "b")}, "five would wait for half a second each"


async def test_the_slowest_of_three_is_never_first_and_the_others_are() -> None:
    route = router(model(target("a"), target("b"), target("c"), strategy="least_latency")).routes["m"]
    for one, seconds in zip(route.targets, (3.0, 1.0, 2.0), strict=True):
        one.load.answered(seconds, 100.0)
    first = Counter(order(route)[0] for _ in range(600))
    assert first["a"] == 0
    assert first["b"] > first["c"] > 100  # two thirds and a third
    assert all(sorted(order(route)) == ["a", "b", "c"] for _ in range(20))


async def test_a_target_nobody_has_tried_is_tried() -> None:
    route = router(model(target("a"), target("b"), strategy="least_latency")).routes["m"]
    route.targets[0].load.answered(0.01, 100.0)
    assert order(route)[0] == "b"
    route.targets[1].load.pending = 1
    assert order(route)[0] == "a", "one at a time"


def test_a_slow_answer_counts_at_once_and_is_forgotten_slowly() -> None:
    load = Load()
    load.answered(0.1, 100.0)
    load.answered(5.0, 100.0)
    assert load.cost(100.0) == 5.0
    load.answered(0.1, 101.0)
    assert 4.0 < load.cost(101.0) < 5.0
    assert load.cost(100.0 + 5 * DECAY) < 0.1


def test_failing_quickly_attracts_nothing() -> None:
    load, other = Load(), Load()
    load.failed(0.001, 100.0)
    other.answered(0.9, 100.0)
    assert load.cost(100.0) > other.cost(100.0)
    before = load.cost(100.0)
    load.failed(0.001, 100.0)
    assert load.cost(100.0) > before


def test_the_95th_percentile_is_learned() -> None:
    load = Load()
    for number in range(LEAST - 1):
        load.answered(0.1, 100.0 + number)
        assert load.late == 0.0
    load.answered(0.1, 200.0)
    assert load.late == 0.1
    for number in range(200):
        load.answered(1.0 if number % 10 == 0 else 0.2, 300.0 + number)
    assert load.late == 1.0
    for number in range(200):
        load.answered(0.2, 600.0 + number)
    assert load.late == 0.2, "what is long ago counts no more"


# least_cost


async def test_the_cheapest_is_asked_first_by_prompt_and_answer() -> None:
    prices = (
        Price(provider="a", model="x", input_per_1k=0.001, output_per_1k=0.100),
        Price(provider="b", model="x", input_per_1k=0.010, output_per_1k=0.001),
    )
    one = router(
        model(target("c"), target("a"), target("b"), target("l"), strategy="least_cost"), prices=prices
    ).routes["m"]
    short = asked(messages=[{"role": "user", "content": "x" * 4_000}], max_tokens=1)
    assert order(one, short) == ["l", "a", "b", "c"], "free, cheap prompts, dear prompts, unknown"
    assert order(one, asked(max_tokens=4_000)) == ["l", "b", "a", "c"]


# affinity


@pytest.mark.parametrize("strategy", ["weighted", "least_latency"])
async def test_prompts_that_begin_alike_go_to_the_same_target(strategy: str) -> None:
    route = router(model(target("a"), target("b"), target("c"), strategy=strategy)).routes["m"]
    for one in route.targets:
        one.load.answered(1.0, 100.0)
    places = {number: order(route, long(number))[0] for number in range(60)}
    for number, place in places.items():
        assert {order(route, long(number, more))[0] for more in ("", "a", "b" * 9_000)} == {place}
    assert min(Counter(places.values()).values()) > 8, "they spread over all targets"
    elsewhere = [order(route, long(number, organization="other"))[0] for number in range(60)]
    assert sum(place != other for place, other in zip(places.values(), elsewhere, strict=True)) > 20


async def test_short_prompts_and_those_of_a_model_without_affinity_go_anywhere() -> None:
    route = router(model(target("a"), target("b"), strategy="weighted")).routes["m"]
    assert {order(route)[0] for _ in range(60)} == {"a", "b"}
    route = router(model(target("a"), target("b"), strategy="weighted", affinity="none")).routes["m"]
    assert {order(route, long(1))[0] for _ in range(60)} == {"a", "b"}


async def test_affinity_keeps_the_shares_of_weights() -> None:
    targets = (target("a", weight=6), target("b", weight=3), target("c", weight=1))
    route = router(model(*targets, strategy="weighted")).routes["m"]
    first = Counter(order(route, long(number))[0] for number in range(2_000))
    for name, share in (("a", 0.6), ("b", 0.3), ("c", 0.1)):
        assert abs(first[name] / 2_000 - share) < 0.06, first


async def test_a_weight_of_zero_gets_no_prompt() -> None:
    route = router(model(target("a", weight=0), target("b"), strategy="weighted")).routes["m"]
    assert {order(route, long(number))[0] for number in range(60)} == {"b"}


async def test_a_busy_target_leaves_its_prompts_to_others() -> None:
    route = router(model(target("a"), target("b"), strategy="weighted")).routes["m"]
    place = order(route, long(5))[0]
    near = next(one for one in route.targets if one.provider.name == place)
    far = next(one for one in route.targets if one is not near)
    near.load.pending, far.load.pending = 8, 8
    assert order(route, long(5))[0] == place
    far.load.pending = 2
    assert near.load.pending >= BOUND * (8 + 2 + 1) / 2
    assert order(route, long(5)) == [far.provider.name, place]


async def test_a_much_slower_target_leaves_its_prompts_to_others() -> None:
    route = router(model(target("a"), target("b"), strategy="least_latency")).routes["m"]
    place = next(number for number in range(50) if order(route, long(number))[0] == "a")
    route.targets[0].load.answered(1.0, 100.0)
    route.targets[1].load.answered(0.5, 100.0)
    assert {order(route, long(place))[0] for _ in range(20)} == {"a"}
    route.targets[0].load.answered(5.0, 100.0)
    assert {order(route, long(place))[0] for _ in range(20)} == {"b"}


@given(st.integers(0, 10**9))
async def test_a_target_that_goes_moves_only_its_own_prompts(number: int) -> None:
    three = router(model(target("a"), target("b"), target("c"), strategy="weighted")).routes["m"]
    two = router(model(target("a"), target("b"), strategy="weighted")).routes["m"]
    place = order(three, long(number))[0]
    if place != "c":
        assert order(two, long(number))[0] == place


# splits


async def test_a_share_of_the_requests_tries_another_model_first() -> None:
    one = router(
        model(target("a"), split=(Split(model="new", share=0.2), Split(model="other", share=0.3))),
        model(target("b"), name="new"),
        model(target("c"), name="other"),
    )
    drawn = Counter(tuple(order(one.routes["m"])) for _ in range(4_000))
    assert set(drawn) == {("a",), ("b", "a"), ("c", "a")}
    assert abs(drawn["b", "a"] / 4_000 - 0.2) < 0.04
    assert abs(drawn["c", "a"] / 4_000 - 0.3) < 0.04


@pytest.mark.parametrize("by", ["credential", "organization"])
async def test_a_share_by_who_asks_stays_with_them(by: Any) -> None:
    split = (Split(model="new", share=0.3, by=by),)
    one = router(model(target("a"), split=split), model(target("b"), name="new"))
    drawn = []
    for number in range(1_000):
        request = asked(**{by: f"someone-{number}"})
        orders = {tuple(order(one.routes["m"], request)) for _ in range(3)}
        assert len(orders) == 1
        drawn.append(orders.pop() == ("b", "a"))
    assert abs(sum(drawn) / 1_000 - 0.3) < 0.07


async def test_all_that_may_be_asked_is_reserved_for() -> None:
    one = router(model(target("a"), split=(Split(model="new", share=0.1),)), model(target("b"), name="new"))
    assert {each.provider.name for each in one.routes["m"].candidates("chat.completions", 0.0)} == {"a", "b"}


# abilities

IMAGE = [
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9_000}}]}
]
TOOL = [{"type": "function", "function": {"name": "f"}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}}
PREFIX_GIVEN = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "prefix": True}]
LACKS: list[Any] = [
    pytest.param({"tools": False}, {"tools": TOOL}, "tools_not_supported", "tools", id="tools"),
    pytest.param({"tools": False}, {"functions": [{"name": "f"}]}, "tools_not_supported", "tools", id="functions"),
    pytest.param({"vision": False}, {"messages": IMAGE}, "vision_not_supported", "messages", id="images"),
    pytest.param(
        {"json_schema": False}, {"response_format": SCHEMA}, "json_schema_not_supported", "response_format", id="schema"
    ),
    pytest.param(
        {"prefill": "none", "tools": False},
        {"messages": PREFIX_GIVEN},
        "prefill_not_supported",
        "messages",
        id="prefix",
    ),
    pytest.param(
        {"context_length": 1_000},
        {"messages": [{"content": "x" * 40_000}]},
        "context_length_exceeded",
        "messages",
        id="long",
    ),
    pytest.param(
        {"context_length": 1_000}, {"max_tokens": 1_001}, "context_length_exceeded", "max_tokens", id="answer"
    ),
]


@pytest.mark.parametrize(("lacks", "fields", "code", "field"), LACKS)
async def test_a_request_goes_only_where_it_can_be_served(
    lacks: dict[str, Any], fields: dict[str, Any], code: str, field: str
) -> None:
    able: dict[str, Any] = {"prefill": "message"}
    one = router(model(target("a", **lacks), target("b", **able)))
    assert order(one.routes["m"], asked(**fields)) == ["b"]
    assert order(one.routes["m"], asked()) == ["a", "b"]
    alone = router(model(target("a", **lacks)))
    with pytest.raises(GatewayError) as refused:
        order(alone.routes["m"], asked(**fields))
    error = refused.value
    assert (error.kind, error.code, error.field) == (Kind.INVALID, code, field)
    assert "'m'" in error.message


@pytest.mark.parametrize("fields", [{"tools": []}, {"tools": None}, {"messages": [{"content": '"image_url"'}]}])
async def test_what_asks_for_nothing_is_served_by_all(fields: dict[str, Any]) -> None:
    one = router(model(target("a", tools=False, vision=False, json_schema=False)))
    assert order(one.routes["m"], asked(**fields)) == ["a"]


async def test_what_may_not_fit_is_tried_where_there_is_more_room_first() -> None:
    lengths = (500, 2_000, 100_000)
    one = router(model(*(target(name, context_length=length) for name, length in zip("abc", lengths, strict=True))))
    route = one.routes["m"]
    assert order(route) == ["a", "b", "c"]
    about_1500 = asked(messages=[{"role": "user", "content": "x" * 5_900}])
    assert order(route, about_1500) == ["b", "c", "a"]
    about_3000 = asked(messages=[{"role": "user", "content": "x" * 11_900}])
    assert order(route, about_3000) == ["c", "b"], "not even sixteen bytes a token would fit into the first"


async def test_the_refusal_says_how_much_was_asked_for() -> None:
    one = router(model(target("a", context_length=1_000), target("b", context_length=4_000)))
    with pytest.raises(GatewayError, match=r"at most 4000 tokens.*about 2\d\d\d\d tokens of prompt and 5000 of answer"):
        order(one.routes["m"], asked(messages=[{"content": "x" * 90_000}], max_tokens=5_000))


async def test_needs_that_no_one_target_has_together() -> None:
    one = router(model(target("a", tools=False), target("b", vision=False)))
    with pytest.raises(GatewayError) as refused:
        order(one.routes["m"], asked(tools=TOOL, messages=IMAGE))
    assert refused.value.code == "unsupported_combination"
    assert "takes tools and takes images" in refused.value.message


async def test_an_endpoint_that_no_target_serves_has_none() -> None:
    assert order(router(model(target("l"), target("l"))).routes["m"], asked("audio.speech", input="x")) == []
