"""A model as it is told: whose word counts, what several targets come to, and what is left out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.bus.policy import PRICED_MOST, PolicyUnavailable
from gateway.contract.catalogue import UNKNOWN, Details
from gateway.contract.prices import Priced, PriceFrom
from gateway.dataplane import catalogue as module
from gateway.dataplane.catalogue import Catalogue
from gateway.dataplane.describing import as_gatewayz, prices_of
from gateway.dataplane.pricing import Pricing, Rate, Schedule, rate_told
from gateway.dataplane.routing import Router, router_from
from gateway.dataplane.runtime import Runtime
from gateway.dataplane.upstream.pool import Pool
from gateway.dataplane.upstream.resolver import Resolver
from gateway.kernel.currency import DayRate, ExchangeRates
from gateway.settings.model import Model, Price, Provider, Settings, Target

NONE = ExchangeRates([], complete=True)
NOW = 1_700_000_000.0
BARE = {"id": "m", "object": "model", "created": 7, "owned_by": "p"}
RICH = Details(
    name="The Model",
    context_length=1_000,
    max_output=100,
    input_modalities=("text", "image", "audio"),
    output_modalities=("text",),
    parameters=("temperature", "tools", "tool_choice", "n"),
    prices={"prompt": "0.1"},
    moderated=False,
)


@dataclass
class Source:
    """Tells what was laid down for a model; waits while ``gate`` is not set."""

    told: Mapping[str, Details] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    fault: Exception | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def details(self, targets: Sequence[Priced]) -> list[Details]:
        assert len(targets) <= PRICED_MOST
        self.asked.append(len(targets))
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return [self.told.get(target.model, UNKNOWN) for target in targets]


@dataclass
class Configured:
    """As much of a runtime as a catalogue looks at."""

    settings: Settings
    router: Router


def runtime(*models: Model, pricing: tuple[Price, ...] = (), kind: str = "openai") -> Any:
    providers = (
        Provider(name="p", kind=kind, base_url="http://p.test/v1"),
        Provider(name="groq", kind="groq", base_url="http://g.test/v1"),
        Provider(name="l", kind="llama_cpp", model="tiny"),
    )
    loop = asyncio.get_running_loop()
    pools = {each.name: Pool(each, each.base_url or "unix:/none", loop, Resolver(loop)) for each in providers}
    settings = Settings(providers=providers, models=models, pricing=pricing)
    return Configured(settings, router_from(settings, pools))


def model(*targets: str, name: str = "m", **fields: Any) -> Model:
    """A model of targets such as ``p/x``; ``fields`` are its first target's, but ``context`` its own."""
    context = fields.pop("context", None)
    pairs = [each.split("/", 1) for each in targets]
    made = [Target(provider=pair[0], model=pair[1], **(fields if n == 0 else {})) for n, pair in enumerate(pairs)]
    return Model(name=name, targets=tuple(made), context_length=context)


async def told(of: Model, pricing: tuple[Price, ...] = (), kind: str = "openai", **details: Details) -> dict[str, Any]:
    """How a model is told, where the sidecar knows ``details`` by the names of the targets' models."""
    catalogue = Catalogue(7)
    catalogue.source = source = Source(details)
    source.gate.set()
    return (await catalogue.models(runtime(of, pricing=pricing, kind=kind)))[of.name]


async def test_what_nobody_knows_is_left_out() -> None:
    assert await told(model("p/x")) == BARE


async def test_what_others_tell() -> None:
    assert await told(model("p/x"), x=RICH) == {
        **BARE,
        "name": "The Model",
        "context_length": 1_000,
        "architecture": {
            "modality": "text+image+audio->text",
            "input_modalities": ["text", "image", "audio"],
            "output_modalities": ["text"],
        },
        "pricing": {"prompt": "0.1"},
        "top_provider": {"context_length": 1_000, "max_completion_tokens": 100, "is_moderated": False},
        "supported_parameters": ["temperature", "tools", "tool_choice", "n"],
    }


async def test_the_configuration_has_the_first_word() -> None:
    price = Price(provider="p", model="x", input_per_1k=0.001, output_per_1k=0.002)
    says: dict[str, Any] = {"context_length": 500, "vision": False, "tools": False, "json_schema": True}
    found = await told(model("p/x", **says), (price,), x=RICH)

    assert found["context_length"] == 500
    assert found["architecture"]["input_modalities"] == ["text", "audio"]
    assert found["pricing"] == {"prompt": "0.000001", "completion": "0.000002"}
    assert found["supported_parameters"] == ["temperature", "n", "response_format", "structured_outputs"]
    assert (await told(model("p/x", context=400, **says), x=RICH))["context_length"] == 400


async def test_well_known_models_are_known_without_asking() -> None:
    found = await told(model("p/gpt-4o"))

    assert found["context_length"] == 128_000
    assert found["architecture"] == {"input_modalities": ["text", "image"]}
    assert found["supported_parameters"] == ["tools", "tool_choice", "response_format", "structured_outputs"]
    # Of this one nothing is known but that it sees nothing: the rest is taken for granted, and so not told.
    assert await told(model("p/deepseek-chat")) == BARE | {"architecture": {"input_modalities": ["text"]}}


async def test_what_a_kind_says_of_all_its_models() -> None:
    assert (await told(model("groq/x"), x=RICH))["supported_parameters"] == ["temperature", "tools", "tool_choice"]
    found = await told(model("p/sonar"), kind="perplexity", sonar=RICH)
    assert found["supported_parameters"] == ["temperature"]


async def test_a_model_of_this_machine_costs_nothing() -> None:
    found = await told(model("l/tiny"))

    assert found["pricing"] == {"prompt": "0", "completion": "0"}
    assert found["context_length"] == 4096
    assert "tools" in found["supported_parameters"]


async def test_several_targets_are_one_model() -> None:
    other = Details(
        context_length=2_000, input_modalities=("text", "file"), parameters=("seed",), prices={"prompt": "9"}
    )
    found = await told(model("p/x", "groq/y", "groq/z"), x=RICH, y=other)

    assert found["context_length"] == 2_000
    assert found["top_provider"]["context_length"] == 1_000
    assert found["architecture"]["input_modalities"] == ["text", "image", "audio", "file"]
    assert found["supported_parameters"] == ["temperature", "tools", "tool_choice", "n", "seed"]
    assert found["pricing"] == {"prompt": "0.1"}, "the price is the first target's"


@pytest.mark.parametrize(
    ("rate", "told"),
    [
        (None, {}),
        (Rate(0, 0, 0), {"prompt": "0", "completion": "0"}),
        (
            Rate(150, 75, 600),
            {"prompt": "0.00000000015", "completion": "0.0000000006", "input_cache_read": "0.000000000075"},
        ),
        (
            rate_told([PriceFrom(0, "api", {"input": 1, "image": 4 * 10**15})], NONE),
            {"prompt": "0.000000000000001", "image": "4"},
        ),
        (rate_told([PriceFrom(0, "api", {"output": 10**15}, currency="EUR")], NONE), {}),
        (Schedule([], NONE), {}),
    ],
)
def test_prices_of_one_token(rate: Pricing | None, told: dict[str, str]) -> None:
    assert prices_of(rate, NOW) == told


def test_a_price_in_another_currency() -> None:
    day = datetime.fromtimestamp(NOW, UTC).date()
    exchange = ExchangeRates([DayRate("EUR", day, 1_100_000_000)])
    rate = rate_told([PriceFrom(0, "api", {"input": 2 * 10**9}, currency="EUR")], exchange)

    assert prices_of(rate, NOW) == {"prompt": "0.0000022"}


async def test_gatewayz_has_numbers_a_name_and_who_made_it() -> None:
    of = runtime(model("p/maker/x"))
    route = of.router.routes["m"]

    assert as_gatewayz(BARE, route) == BARE | {"name": "m", "provider": "maker"}
    priced = as_gatewayz(BARE | {"name": "M", "pricing": {"prompt": "0.00003"}}, route)
    assert (priced["name"], priced["pricing"]) == ("M", {"prompt": 0.00003})


async def test_the_sidecar_is_asked_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue, source, configured = Catalogue(7), Source({"x": Details(context_length=1)}), runtime(model("p/x"))
    catalogue.source = source
    source.gate.set()
    first = await catalogue.models(configured)
    assert await catalogue.models(configured) is first
    assert source.asked == [1]

    source.told = {"x": Details(context_length=2)}
    monkeypatch.setattr(module, "FRESH", 0.0)
    catalogue._due = 0.0
    assert (await catalogue.models(configured))["m"]["context_length"] == 2
    source.fault = PolicyUnavailable("gone")
    assert (await catalogue.models(configured))["m"]["context_length"] == 2, "what was told stays"
    assert source.asked == [1, 1, 1]


async def test_a_new_configuration_is_told_at_once() -> None:
    catalogue, source = Catalogue(7), Source()
    catalogue.source = source
    source.gate.set()
    await catalogue.models(runtime(model("p/x")))
    many = [model(f"p/x{number}", name=f"m{number}") for number in range(PRICED_MOST + 1)]

    assert len(await catalogue.models(runtime(*many))) == PRICED_MOST + 2, "auto is one of them"
    assert source.asked == [1, PRICED_MOST, 1]


async def test_a_sidecar_that_is_slow_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    monkeypatch.setattr(module, "FRESH", 0.0)
    catalogue, source, configured = Catalogue(7), Source({"x": Details(context_length=1)}), runtime(model("p/x"))
    catalogue.source = source

    assert await catalogue.models(configured) == {"m": BARE}
    monkeypatch.setattr(module, "_PATIENCE", 3_600.0)
    assert await catalogue.models(configured) == {"m": BARE}
    assert source.asked == [1]
    source.gate.set()
    assert catalogue._asking is not None
    await catalogue._asking
    assert (await catalogue.models(configured))["m"]["context_length"] == 1


async def test_without_a_sidecar_nobody_is_asked() -> None:
    configured: Runtime = runtime(model("p/gpt-4"))

    assert (await Catalogue(7).models(configured))["m"]["context_length"] == 8_192
