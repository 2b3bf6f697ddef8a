"""What the sidecar tells of prices takes effect in place, and stays while nothing is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from gateway.bus.policy import PRICED_MOST, PolicyUnavailable
from gateway.contract.policy import Change
from gateway.contract.prices import Priced, PriceFrom, Prices
from gateway.contract.usage import Tokens
from gateway.dataplane import prices as module
from gateway.dataplane.admission.registry import Registry
from gateway.dataplane.credentials import Learnt
from gateway.dataplane.prices import PriceList
from gateway.dataplane.pricing import FREE, Pricing, Rate, Schedule, cost_of
from gateway.dataplane.routing import Router, router_from
from gateway.dataplane.upstream.pool import Pool
from gateway.dataplane.upstream.resolver import Resolver
from gateway.settings.model import Model, Price, Provider, Settings, Target

WAIT = 30.0
CONFIGURED = Price(provider="a", model="x", input_per_1k=0.001, output_per_1k=0.002)
YAML = Rate(1_000_000, 1_000_000, 2_000_000)


class Source:
    """Tells what was laid down; its ``fault`` instead where there is one."""

    def __init__(self) -> None:
        self.told: dict[str, list[PriceFrom]] = {}
        self.asked: list[list[str]] = []
        self.fault: Exception | None = None
        self.most = PRICED_MOST
        self.answered = asyncio.Event()

    async def prices(self, targets: Sequence[Priced]) -> Prices:
        assert len(targets) <= PRICED_MOST
        self.asked.append([f"{target.provider}/{target.model}" for target in targets])
        await asyncio.sleep(0)
        self.answered.set()
        if self.fault is not None:
            raise self.fault
        found = [self.told.get(f"{target.provider}/{target.model}", []) for target in targets]
        return Prices(found[: self.most], [])


def router(*models: str, pricing: tuple[Price, ...] = ()) -> Router:
    """A route to each of these models of the provider ``a``, and one to the local engine."""
    providers = (Provider(name="a", base_url="http://a.test/v1"), Provider(name="l", kind="llama_cpp", model="tiny"))
    loop = asyncio.get_running_loop()
    pools = {each.name: Pool(each, each.base_url or "unix:/none", loop, Resolver(loop)) for each in providers}
    made = [Model(name=name, targets=(Target(provider="a", model=name),)) for name in models]
    made.append(Model(name="local", targets=(Target(provider="l", model="tiny"),)))
    return router_from(Settings(providers=providers, models=tuple(made), pricing=pricing), pools)


def rate(of: Router, name: str = "x") -> Pricing | None:
    return of.routes[name].targets[0].rate


def by(source: str, input: int) -> list[PriceFrom]:
    """One price, in nano-dollars a prompt token."""
    return [PriceFrom(0, source, {"input": input * 1_000_000})]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT):
        while not true():  # noqa: ASYNC110 - what is looked at has no event
            await asyncio.sleep(0.001)


@asynccontextmanager
async def running(source: Source, of: Router) -> AsyncIterator[PriceList]:
    """A list that asks, for the duration of the block."""
    prices = PriceList(source)
    prices.serve(of)
    task = asyncio.create_task(prices.run())
    try:
        yield prices
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)


async def test_what_is_told_is_set_in_place_and_asked_for_anew_when_it_changed() -> None:
    source, one = Source(), router("x", "y")
    source.told = {"a/x": by("default", 3), "l/tiny": by("config", 0)}
    target = one.routes["x"].targets[0]
    async with running(source, one) as prices:
        await until(lambda: rate(one) is not None)
        assert (target.rate, rate(one, "y"), rate(one, "local")) == (Rate(3_000, 3_000, 0), None, FREE)
        source.told["a/x"] = by("api", 5)
        prices.ask()
        await until(lambda: target.rate == Rate(5_000, 5_000, 0))
        source.told["a/x"] = []
        prices.ask()
        await until(lambda: target.rate is None)
        assert len(source.asked) == 3


async def test_the_configuration_comes_before_the_default_and_after_the_api() -> None:
    source, one = Source(), router("x", pricing=(CONFIGURED,))
    source.told = {"a/x": by("config", 3)}  # the sidecar has not read the new configuration yet
    async with running(source, one) as prices:
        await until(lambda: len(source.asked) == 1)
        await until(lambda: bool(prices._told))
        assert rate(one) == YAML
        source.told = {"a/x": by("api", 5), "l/tiny": by("api", 1)}
        prices.ask()
        await until(lambda: rate(one) == Rate(5_000, 5_000, 0))
        assert rate(one, "local") == Rate(1_000, 1_000, 0)
        source.told = {}
        prices.ask()
        await until(lambda: rate(one) == YAML)
        assert rate(one, "local") == FREE


async def test_a_price_by_api_that_begins_later_is_told_with_what_holds_until_then() -> None:
    source, one = Source(), router("x", pricing=(CONFIGURED,))
    later = PriceFrom(4_000_000_000 * 10**9, "api", {"input": 10**9})
    source.told = {"a/x": [PriceFrom(0, "config", {"input": 10**9, "output": 2 * 10**9}), later]}
    async with running(source, one):
        await until(lambda: isinstance(rate(one), Schedule))
        found = rate(one)
        assert found is not None
        assert cost_of(found, Tokens(prompt=1, completion=1)) == 3_000


async def test_a_default_price_holds_until_the_day_of_the_configurations() -> None:
    dated = Price(provider="a", model="x", input_per_1k=1, effective_from="2100-01-01")
    source, one = Source(), router("x", pricing=(dated,))
    source.told = {"a/x": by("default", 3)}
    async with running(source, one):
        await until(lambda: rate(one) == Rate(3_000, 3_000, 0))


async def test_while_the_sidecar_is_away_what_was_told_stays_and_it_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 0.0)
    source, one = Source(), router("x")
    source.fault = PolicyUnavailable("nobody answers")
    source.told = {"a/x": by("api", 5)}
    async with running(source, one) as prices:
        await until(lambda: len(source.asked) >= 3)
        assert rate(one) is None
        source.fault = None
        await until(lambda: rate(one) is not None)
        source.fault, source.told = PolicyUnavailable("nobody answers"), {}
        asked = len(source.asked)
        prices.ask()
        await until(lambda: len(source.asked) > asked + 1)
        assert rate(one) == Rate(5_000, 5_000, 0)
    assert [record.message for record in caplog.records].count(
        "prices can't be asked for; those that are known stay"
    ) == 2


async def test_a_reload_keeps_what_was_told_and_asks_for_what_is_new() -> None:
    source, one = Source(), router("x")
    source.told = {"a/x": by("api", 5), "a/new": by("default", 7)}
    async with running(source, one) as prices:
        await until(lambda: rate(one) is not None)
        two = router("x", "new")
        prices.serve(two)
        assert rate(two) == Rate(5_000, 5_000, 0), "from the first request on"
        await until(lambda: rate(two, "new") == Rate(7_000, 7_000, 0))
        prices.serve(router("other"))
        await until(lambda: "a/other" in source.asked[-1])
        await until(lambda: ("a", "x") not in prices._told)


async def test_many_targets_are_asked_for_in_parts() -> None:
    names = [f"m{number}" for number in range(PRICED_MOST + 5)]
    source, one = Source(), router(*names)
    source.told = {f"a/{name}": by("default", number + 1) for number, name in enumerate(names)}
    source.most = 7
    async with running(source, one):
        await until(lambda: rate(one, names[-1]) is not None)
    for number, name in enumerate(names):
        assert rate(one, name) == Rate(1_000 * (number + 1), 1_000 * (number + 1), 0)


async def test_an_answer_that_tells_nothing_is_none() -> None:
    source, one = Source(), router("x")
    source.most = 0
    async with running(source, one):
        await until(lambda: len(source.asked) >= 2)
        source.most, source.told = PRICED_MOST, {"a/x": by("api", 5)}
        await until(lambda: rate(one) is not None)


async def test_the_feed_tells_when_to_ask() -> None:
    class Nobody(Source):
        connected = True

        async def resolve(self, query: object) -> object:
            raise PolicyUnavailable("not asked")

    learnt = Learnt(Nobody(), Registry(), Settings())  # type: ignore[arg-type]
    told: list[str] = []
    learnt.on_prices = lambda: told.append("ask")
    learnt.heard(Change(1, 0, "credential", "key_1"))
    assert told == []
    learnt.heard(Change(2, 0, "pricing", "price_1"))
    learnt.heard(Change(3, 0, "everything", ""))
    assert told == ["ask", "ask"]
