"""``auto`` is there where it can be, and chooses from what answers prompts and the key may use."""

from __future__ import annotations

import asyncio

import pytest

from gateway.dataplane import routing as module
from gateway.dataplane.learned.auto import MOST
from gateway.dataplane.routing import Route, Router, router_from
from gateway.dataplane.upstream.pool import Pool
from gateway.dataplane.upstream.resolver import Resolver
from gateway.kernel.errors import GatewayError
from gateway.settings.model import Auto, Model, Provider, Routing, Settings, Target

EVERY: frozenset[str] = frozenset()
CHATS = ("gpt-4o", "llama-3.1-8b-instruct", "claude-3-haiku", "ttsx-chat")
OTHERS = ("text-embedding-3-small", "whisper-1", "tts-1", "dall-e-3", "omni-moderation-latest", "bge-m3", "rerank-v3.5")


def router(*models: str, auto: Auto | None = None, names: dict[str, str] | None = None) -> Router:
    """A route to each of these models at one provider, under its own name or another."""
    provider = Provider(name="p", base_url="http://a.test/v1")
    loop = asyncio.get_running_loop()
    pools = {"p": Pool(provider, "http://a.test/v1", loop, Resolver(loop))}
    made = tuple(
        Model(name=(names or {}).get(name, name), targets=(Target(provider="p", model=name),)) for name in models
    )
    routing = Routing(auto=auto or Auto())
    return router_from(Settings(providers=(provider,), models=made, routing=routing), pools)


def models(route: Route) -> set[str]:
    assert route.learned is not None
    assert route.learned.targets == route.targets
    return {target.model for target in route.targets}


async def test_all_that_answers_prompts_is_chosen_from() -> None:
    assert models(router(*CHATS, *OTHERS).find("auto", EVERY)) == set(CHATS)


async def test_a_list_is_taken_as_it_is() -> None:
    found = router(*CHATS, *OTHERS, auto=Auto(models=("gpt-4o", "whisper-1")))
    assert models(found.find("auto", EVERY)) == {"gpt-4o", "whisper-1"}


async def test_a_key_gets_what_it_may_use() -> None:
    found = router(*CHATS)
    some = found.find("auto", frozenset({"gpt-4o", "other"}))
    assert models(some) == {"gpt-4o"}
    assert found.find("auto", frozenset({"gpt-4o", "other"})) is some
    assert models(found.find("auto", frozenset({"auto"}))) == set(CHATS), "a key for auto may use what it chooses"
    with pytest.raises(GatewayError) as caught:
        found.find("auto", frozenset({"other"}))
    assert (caught.value.code, caught.value.field) == ("model_not_allowed", "model")


async def test_lists_of_models_name_it_where_it_has_a_choice() -> None:
    def listed(found: Router, *allowed: str) -> list[str]:
        return [route.name for route in found.offered(frozenset(allowed))]

    found = router(*CHATS[:2], *OTHERS)
    assert listed(found) == [*CHATS[:2], *OTHERS, "auto"]
    assert listed(found, *CHATS[:2]) == [*CHATS[:2], "auto"]
    assert listed(found, "auto") == ["auto"]
    for allowed in ((CHATS[0],), (CHATS[0], OTHERS[0]), ("other",)):
        assert "auto" not in listed(found, *allowed), "there is nothing to choose"
    assert listed(router(CHATS[0], *OTHERS)) == [CHATS[0], *OTHERS]
    assert listed(router(*CHATS, auto=Auto(enabled=False))) == list(CHATS)
    configured = router(*CHATS, names={CHATS[0]: "auto"})
    assert listed(configured) == ["auto", *CHATS[1:]]


async def test_so_many_lists_are_kept_and_no_more() -> None:
    found = router(*CHATS)
    whole = found.find("auto", EVERY)
    for number in range(MOST + 10):
        found.find("auto", frozenset({"gpt-4o", f"other-{number}"}))
    assert found.auto is not None
    assert len(found.auto._kept) == MOST
    assert found.find("auto", EVERY) is whole


async def test_a_model_of_that_name_goes_before() -> None:
    route = router("gpt-4o", "claude-3-haiku", names={"gpt-4o": "auto"}).find("auto", EVERY)
    assert (route.learned, [target.model for target in route.targets]) == (None, ["gpt-4o"])


@pytest.mark.parametrize("reason", ["off", "no models", "no chats", "no NumPy"])
async def test_it_is_not_there_where_it_can_not_be(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason == "no NumPy":
        monkeypatch.setattr(module, "has_numpy", lambda: False)
    named = {"no models": (), "no chats": OTHERS}.get(reason, CHATS)
    found = router(*named, auto=Auto(enabled=reason != "off"))
    with pytest.raises(GatewayError) as caught:
        found.find("auto", EVERY)
    assert caught.value.code == "model_not_found"


async def test_nothing_is_loaded_before_it_is_asked_for() -> None:
    found = router(*CHATS)
    assert found.learned is not None
    assert found.learned.deciders == []
    await found.learned.start()
    assert found.learned.model is None
    assert all(target.seen is None for target in found.targets().values())
