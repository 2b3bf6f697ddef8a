"""Stored prices follow the configuration and the list of default prices."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from gateway.domain.actor import SYSTEM
from gateway.domain.pricing import repo
from gateway.domain.pricing.defaults import Defaults, default_id, list_version
from gateway.domain.pricing.model import PriceRevision, PriceVersion
from gateway.domain.pricing.price import EPOCH, Price, Tier
from gateway.domain.pricing.service import PriceService
from gateway.domain.pricing.sync import complete, reconcile, synchronise
from gateway.kernel.errors import GatewayError
from gateway.settings.model import Settings
from tests.support.accounts import MASTER, START, Accounts

UP = {"name": "up", "kind": "openai", "base_url": "http://127.0.0.1:9/v1"}
LOCAL = {"name": "here", "kind": "llama_cpp", "model": "smollm2"}
PRICE = {"provider": "up", "model": "gpt-4", "input_per_1k": 0.01, "output_per_1k": 0.03}


def settings(*prices: dict[str, Any], **more: Any) -> Settings:
    return msgspec.convert({"providers": [UP, LOCAL], "pricing": list(prices)} | more, Settings)


async def take_up(accounts: Accounts, configured: Settings) -> list[Price]:
    async with accounts.begin(SYSTEM) as work:
        await synchronise(work, configured)
    async with accounts.read(MASTER) as work:
        return await repo.all_versions(work.session, "config")


async def revision(accounts: Accounts) -> int:
    async with accounts.read(MASTER) as work:
        return await repo.revision(work.session)


async def test_a_configured_price_holds_from_the_beginning_and_a_change_from_when_it_is_seen(
    accounts: Accounts,
) -> None:
    (first,) = await take_up(accounts, settings(PRICE))
    assert (first.effective_from, first.effective_to) == (EPOCH, None)
    assert first.rates == {"input": 10_000_000_000, "output": 30_000_000_000}
    before = await revision(accounts)
    accounts.clock.advance(60)
    assert await take_up(accounts, settings(PRICE)) == [first]
    assert await revision(accounts) == before

    changed = accounts.clock.now
    former, second = await take_up(accounts, settings(PRICE | {"cached_input_per_1k": 0.001}))
    assert (former.effective_to, second.effective_from) == (changed, changed)
    assert second.rates["cached_input"] == 1_000_000_000
    assert await revision(accounts) > before

    accounts.clock.advance(60)
    gone = accounts.clock.now
    assert [price.effective_to for price in await take_up(accounts, settings())] == [changed, gone]
    accounts.clock.advance(60)
    third = (await take_up(accounts, settings(PRICE)))[-1]
    assert third.effective_from == accounts.clock.now
    assert await accounts.actions() == [
        "pricing.created", "pricing.updated", "pricing.deleted", "pricing.updated",
    ]  # fmt: skip


async def test_models_of_this_machine_cost_nothing(accounts: Accounts) -> None:
    targets = [{"provider": "here", "model": "smollm2"}, {"provider": "up", "model": "gpt-4"}]
    models = [{"name": "small", "targets": targets}]
    (free,) = await take_up(accounts, settings(models=models))
    assert (free.provider, free.model, free.rates) == ("here", "smollm2", {"input": 0, "output": 0})


async def test_a_configured_price_can_be_overridden_and_not_ended(accounts: Accounts) -> None:
    (price,) = await take_up(accounts, settings(PRICE))
    async with accounts.begin(MASTER) as work:
        with pytest.raises(GatewayError, match=r"gateway\.yaml"):
            await PriceService(work).end(price.id)
    assert await accounts.actions() == ["pricing.created"]


async def test_exchange_rates_are_those_of_the_configuration(accounts: Accounts) -> None:
    rate: dict[str, Any] = {"currency": "EUR", "day": "2026-03-14", "dollars": 1.25}
    for rates in ([rate], [rate], [rate | {"dollars": 1.5}, rate | {"currency": "JPY", "dollars": 0.0065}]):
        await take_up(accounts, settings(exchange_rates=rates))
        async with accounts.read(MASTER) as work:
            stored = {
                (item.currency, item.day, item.nanos_per_unit) for item in await repo.exchange_rates(work.session)
            }
        assert stored == {(item["currency"], date(2026, 3, 14), round(item["dollars"] * 10**9)) for item in rates}
    assert await accounts.actions() == ["exchange_rates.changed"] * 2
    await take_up(accounts, settings())
    async with accounts.read(MASTER) as work:
        assert await repo.exchange_rates(work.session) == []


async def test_the_whole_list_is_stored_once(accounts: Accounts) -> None:
    await complete(accounts.works, {})
    async with accounts.read(MASTER) as work:
        stored = await repo.all_versions(work.session)
    assert {price.id for price in stored} == {price.id for price in Defaults().all()}
    before = await revision(accounts)
    await complete(accounts.works, {})
    assert await revision(accounts) == before


async def test_a_newer_list_changes_a_price_from_when_it_is_seen(accounts: Accounts) -> None:
    (fresh,) = Defaults().find("openai", "gpt-4o")
    old = msgspec.structs.replace(fresh, rates={"input": 1}, id="")
    old = msgspec.structs.replace(old, id=default_id(old))
    async with accounts.begin(SYSTEM) as work:
        await repo.keep_defaults(work.session, [old], work.now)
        (await repo.state(work.session)).default_list = "0.0.1"
    await take_up(accounts, settings())
    async with accounts.read(MASTER) as work:
        query = select(PriceVersion).order_by(PriceVersion.effective_from)
        rows = [repo.price_of(row) for row in await work.session.scalars(query)]
        state = (await work.session.scalars(select(PriceRevision))).one()
    assert [(row.effective_from, row.effective_to) for row in rows] == [(EPOCH, START), (START, None)]
    assert [row.rates for row in rows] == [{"input": 1}, fresh.rates]
    assert state.default_list == list_version()


def version(rates: dict[str, int], start: datetime = EPOCH, end: datetime | None = None) -> Price:
    made = Price(id="", provider="p", model="m", source="default", effective_from=start, effective_to=end, rates=rates)
    return msgspec.structs.replace(made, id=default_id(made))


DAY = datetime(2026, 2, 1, tzinfo=UTC)
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_newer_list_that_goes_on_is_believed_about_its_dates() -> None:
    stored = version({"input": 1})
    fresh = [version({"input": 1}, end=DAY), version({"input": 2}, DAY)]
    assert reconcile([stored], fresh, NOW) == (stored, fresh[1:])


def test_a_newer_list_that_says_otherwise_holds_from_now() -> None:
    stored = version({"input": 1})
    assert reconcile([stored], [version({"input": 2})], NOW) == (stored, (version({"input": 2}, NOW),))


@pytest.mark.parametrize(
    "fresh", [[], [version({"input": 1})], [version({"input": 5}, end=DAY), version({"input": 1}, DAY)]]
)
def test_a_newer_list_that_says_the_same_or_nothing_changes_nothing(fresh: list[Price]) -> None:
    assert reconcile([version({"input": 1})], fresh, NOW) == (None, ())


def spans(prices: list[Price]) -> list[tuple[Any, Any, int]]:
    """When each version holds that holds at all, and what it tells of input."""
    held = [price for price in prices if price.effective_to is None or price.effective_from < price.effective_to]
    held.sort(key=lambda price: price.effective_from)
    return [(price.effective_from, price.effective_to, price.rates.get("input", 0) // 1_000_000_000) for price in held]


def day(number: int, month: int = 1) -> datetime:
    return datetime(2031, month, number, tzinfo=UTC)


def dated(first: str | None, input_per_1k: float, **more: Any) -> dict[str, Any]:
    price = PRICE | {"input_per_1k": input_per_1k} | more
    return price if first is None else price | {"effective_from": first}


async def test_prices_with_a_day_follow_one_another(accounts: Accounts) -> None:
    two = settings(dated("2031-02-01", 0.002), dated("2031-01-01", 0.001))
    found = await take_up(accounts, two)
    assert spans(found) == [(day(1), day(1, 2), 1), (day(1, 2), None, 2)]
    before = await revision(accounts)
    assert await take_up(accounts, two) == found
    assert await revision(accounts) == before

    # Another one in between, and one that says something else from the same day.
    three = settings(dated("2031-01-01", 0.001), dated("2031-01-15", 0.005), dated("2031-02-01", 0.003))
    expected = [(day(1), day(15), 1), (day(15), day(1, 2), 5), (day(1, 2), None, 3)]
    assert spans(await take_up(accounts, three)) == expected
    # One that is gone leaves its days to the one before it.
    one = settings(dated("2031-01-01", 0.001))
    assert spans(await take_up(accounts, one)) == [(day(1), None, 1)]


async def test_a_price_with_a_day_follows_what_held_before(accounts: Accounts) -> None:
    await take_up(accounts, settings(dated(None, 0.007)))
    found = await take_up(accounts, settings(dated("2031-01-01", 0.001)))
    assert spans(found) == [(EPOCH, day(1), 7), (day(1), None, 1)]
    # Without a day again it holds from now on, and what was to come does not.
    now = accounts.clock.now
    found = await take_up(accounts, settings(dated(None, 0.009)))
    assert spans(found) == [(EPOCH, now, 7), (now, None, 9)]
    accounts.clock.advance(60)
    assert spans(await take_up(accounts, settings())) == [(EPOCH, now, 7), (now, accounts.clock.now, 9)]


async def test_a_configured_price_may_tell_all_that_one_by_api_can(accounts: Accounts) -> None:
    price = {
        "provider": "up", "model": "x", "currency": "EUR", "per_request": 0.01, "per_image": 0.04,
        "per_audio_second": 0.0001, "input_per_1k": 1, "output_per_1k": 2, "cache_write_1h_per_1k": 3,
        "tiers": [{"above_prompt_tokens": 10, "input_per_1k": 4}],
    }  # fmt: skip
    (found,) = await take_up(accounts, settings(price))
    rates = {
        "input": 10**12, "output": 2 * 10**12, "cache_write_1h": 3 * 10**12, "request": 10**13, "image": 4 * 10**13,
        "audio_second": 10**11,
    }  # fmt: skip
    assert (found.currency, found.rates) == ("EUR", rates)
    assert found.tiers == (Tier(10, rates | {"input": 4 * 10**12}),)
    assert await take_up(accounts, settings(price)) == [found]


async def test_the_data_plane_is_told_of_a_change_and_only_then(accounts: Accounts) -> None:
    since = await accounts.last_seq()
    await take_up(accounts, settings(PRICE))
    await take_up(accounts, settings(PRICE))
    assert await accounts.changes(since) == [("pricing", "config", None)]
