"""Prices by API: versions follow one another and never overlap, and each is its owner's."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.domain.pricing import repo
from gateway.domain.pricing.model import PriceVersion
from gateway.domain.pricing.price import Tier
from gateway.domain.pricing.requests import NewPrice, PriceChange, PriceFilter, PricePage
from gateway.domain.pricing.service import PriceService
from gateway.kernel.errors import GatewayError, Kind
from tests.support.accounts import MASTER, START, Accounts, with_key

JANUARY, FEBRUARY, MARCH, APRIL = (datetime(2026, month, 1, tzinfo=UTC) for month in (1, 2, 3, 4))


def new(**more: Any) -> NewPrice:
    fields = {"provider": "openai", "model": "gpt-4-turbo", "rates": {"input": 10, "output": 30}} | more
    return NewPrice(**fields)


async def create(accounts: Accounts, actor: Any = MASTER, **more: Any) -> PriceVersion:
    async with accounts.begin(actor) as work:
        return await PriceService(work).create(new(**more))


async def follow(accounts: Accounts, id: str, actor: Any = MASTER, **change: Any) -> PriceVersion:
    async with accounts.begin(actor) as work:
        return await PriceService(work).new_version(id, PriceChange(**change))


async def end(accounts: Accounts, id: str, at: datetime | None = None, actor: Any = MASTER) -> PriceVersion:
    async with accounts.begin(actor) as work:
        return await PriceService(work).end(id, at)


async def found(accounts: Accounts, at: datetime, organization: str | None = None) -> dict[str, int] | None:
    async with accounts.read(MASTER) as work:
        price = await PriceService(work).find("openai", "gpt-4-turbo", at, organization)
        return None if price is None else price.rates


async def span(accounts: Accounts, id: str) -> tuple[datetime, datetime | None]:
    async with accounts.read(MASTER) as work:
        row = await PriceService(work).get(id)
        return row.effective_from, row.effective_to


async def test_a_price_is_made_followed_and_ended(accounts: Accounts) -> None:
    first = await create(accounts, effective_from=JANUARY)
    second = await follow(accounts, first.id, rates={"input": 9}, effective_from=FEBRUARY)
    assert second.rates == {"input": 9, "output": 30}
    assert (second.supersedes, second.source) == (first.id, "api")
    assert await span(accounts, first.id) == (JANUARY, FEBRUARY)
    await end(accounts, second.id, MARCH)
    days = [JANUARY - timedelta(days=1), JANUARY, FEBRUARY - timedelta(microseconds=1), FEBRUARY, MARCH]
    assert [await found(accounts, day) for day in days] == [
        None, {"input": 10, "output": 30}, {"input": 10, "output": 30}, {"input": 9, "output": 30}, None,
    ]  # fmt: skip
    records = [await accounts.records(f"pricing.{verb}") for verb in ("created", "updated", "deleted")]
    assert [[record.resource_id for record in some] for some in records] == [[first.id], [second.id], [second.id]]
    assert records[1][0].before is not None
    assert records[1][0].after is not None
    assert records[1][0].before["rates"] == {"input": 10, "output": 30}
    assert records[1][0].after["rates"] == {"input": 9, "output": 30}


async def test_a_late_correction_overtakes_a_price_from_its_beginning(accounts: Accounts) -> None:
    first = await create(accounts, effective_from=FEBRUARY)
    await follow(accounts, first.id, rates={"input": 12}, effective_from=JANUARY)
    assert await span(accounts, first.id) == (FEBRUARY, FEBRUARY)
    assert [await found(accounts, day) for day in (JANUARY, FEBRUARY)] == [{"input": 12, "output": 30}] * 2
    with pytest.raises(GatewayError) as raised:
        await follow(accounts, first.id, rates={"input": 13})
    assert (raised.value.kind, raised.value.code) == (Kind.CONFLICT, "price_ended")


async def test_a_correction_of_a_price_that_is_over_ends_where_that_did(accounts: Accounts) -> None:
    first = await create(accounts, effective_from=JANUARY)
    await follow(accounts, first.id, rates={"input": 9}, effective_from=MARCH)
    await follow(accounts, first.id, rates={"input": 11}, effective_from=FEBRUARY)
    inputs = [(await found(accounts, day) or {})["input"] for day in (JANUARY, FEBRUARY, MARCH)]
    assert inputs == [10, 11, 9]


async def test_a_later_price_ends_the_open_one(accounts: Accounts) -> None:
    first = await create(accounts, effective_from=JANUARY)
    second = await create(accounts, effective_from=APRIL, rates={"input": 5})
    assert second.supersedes == first.id
    assert await span(accounts, first.id) == (JANUARY, APRIL)


@pytest.mark.parametrize("span_", [(FEBRUARY, None), (JANUARY, None), (JANUARY, MARCH), (MARCH, APRIL)])
async def test_two_prices_do_not_hold_at_once(accounts: Accounts, span_: tuple[datetime, datetime | None]) -> None:
    await create(accounts, effective_from=FEBRUARY)
    with pytest.raises(GatewayError) as raised:
        await create(accounts, effective_from=span_[0], effective_to=span_[1])
    assert (raised.value.kind, raised.value.code) == (Kind.CONFLICT, "already_exists")
    await create(accounts, effective_from=JANUARY, effective_to=FEBRUARY)


async def test_of_two_who_make_the_same_price_one_has(accounts: Accounts) -> None:
    done = await asyncio.gather(*(create(accounts, effective_from=JANUARY) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(item, PriceVersion) for item in done) == 1
    assert {item.code for item in done if isinstance(item, GatewayError)} == {"already_exists"}


async def test_a_price_that_has_not_begun_is_never_in_force_once_ended(accounts: Accounts) -> None:
    row = await create(accounts, effective_from=START + timedelta(days=9))
    assert (await end(accounts, row.id)).effective_to == row.effective_from
    assert await found(accounts, START + timedelta(days=10)) is None
    with pytest.raises(GatewayError, match="has ended"):
        await end(accounts, row.id)
    await create(accounts, effective_from=START + timedelta(days=9))


async def test_an_end_may_be_brought_forward_and_not_put_off(accounts: Accounts) -> None:
    row = await create(accounts, effective_from=JANUARY)
    await end(accounts, row.id, APRIL)
    await end(accounts, row.id, MARCH)
    with pytest.raises(GatewayError) as raised:
        await end(accounts, row.id, APRIL)
    assert raised.value.code == "price_ended"
    with pytest.raises(GatewayError) as raised:
        await end(accounts, row.id, JANUARY - timedelta(days=1))
    assert (raised.value.code, raised.value.field) == ("invalid_date_range", "end_date")


async def test_an_organisation_sets_prices_of_its_own(accounts: Accounts) -> None:
    for name in ("acme", "other"):
        await accounts.organization(name)
    acme = with_key("key_a", "acme", ("pricing:read", "pricing:write"))
    other = with_key("key_o", "other", ("pricing:read", "pricing:write"))
    everybody = await create(accounts, effective_from=JANUARY)
    own = await follow(accounts, everybody.id, acme, rates={"input": 1}, effective_from=JANUARY)
    assert own.organization_id == "acme"
    assert await span(accounts, everybody.id) == (JANUARY, None)
    assert (await found(accounts, MARCH, "acme") or {})["input"] == 1
    assert (await found(accounts, MARCH, "other") or {})["input"] == 10
    for attempt in (
        follow(accounts, own.id, other, rates={"input": 2}),
        end(accounts, own.id, actor=other),
    ):
        with pytest.raises(GatewayError) as raised:
            await attempt
        assert raised.value.code == "price_not_found"
    for attempt in (
        end(accounts, everybody.id, actor=acme),
        create(accounts, acme, organization="other"),
        create(accounts, with_key("key_b", "acme", ("pricing:read",))),
    ):
        with pytest.raises(GatewayError) as raised:
            await attempt
        assert raised.value.kind is Kind.FORBIDDEN
    assert await ids(accounts, acme) == {everybody.id, own.id}
    assert await ids(accounts, other) == {everybody.id}
    assert await ids(accounts, MASTER) == {everybody.id, own.id}


async def listed(accounts: Accounts, actor: Any = MASTER, **wanted: Any) -> PricePage:
    async with accounts.read(actor) as work:
        return await PriceService(work).list(PriceFilter(**wanted))


async def ids(accounts: Accounts, actor: Any) -> set[str]:
    return {row.id for row in (await listed(accounts, actor)).items}


async def test_lists_are_filtered_and_paged(accounts: Accounts) -> None:
    rows = [await create(accounts, model=f"m{index}", effective_from=JANUARY) for index in range(5)]
    await end(accounts, rows[0].id, FEBRUARY)
    page = await listed(accounts, limit=3)
    assert ([row.model for row in page.items], page.total) == (["m4", "m3", "m2"], 4)
    rest = await listed(accounts, limit=3, after=page.next)
    assert ([row.model for row in rest.items], rest.next) == (["m1"], None)
    assert [row.model for row in (await listed(accounts, active=False, ascending=True, limit=1)).items] == ["m0"]
    assert [row.model for row in (await listed(accounts, model="m2", provider="openai")).items] == ["m2"]
    assert (await listed(accounts, provider="azure")).total == 0


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({"rates": {}}, "rates", "invalid_value"),
        ({"rates": {"input": -1}}, "rates.input", "invalid_value"),
        ({"rates": {"input": 10**18 + 1}}, "rates.input", "invalid_value"),
        ({"rates": {"thoughts": 1}}, "rates.thoughts", "invalid_value"),
        ({"currency": "CHF"}, "currency", "invalid_value"),
        ({"tiers": (Tier(5, {}), Tier(5, {}))}, "tiers[1].above_prompt_tokens", "invalid_value"),
        ({"tiers": (Tier(0, {}),)}, "tiers[0].above_prompt_tokens", "invalid_value"),
        ({"model": " "}, "model", "invalid_value"),
        ({"effective_from": MARCH, "effective_to": MARCH}, "effective_to", "invalid_date_range"),
        ({"organization": "nowhere"}, "organization", "organization_not_found"),
    ],
)
async def test_faulty_prices(accounts: Accounts, fields: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(GatewayError) as raised:
        await create(accounts, **fields)
    assert (raised.value.field, raised.value.code) == (field, code)
    async with accounts.read(MASTER) as work:
        assert await repo.all_versions(work.session) == []


async def test_a_change_that_says_nothing(accounts: Accounts) -> None:
    row = await create(accounts)
    with pytest.raises(GatewayError, match="at least one price"):
        await follow(accounts, row.id, effective_from=APRIL)


async def test_a_tier_tells_every_rate(accounts: Accounts) -> None:
    row = await create(accounts, tiers=(Tier(10, {"input": 20}), Tier(20, {"output": 60})))
    assert row.tiers == [
        {"above": 10, "rates": {"input": 20, "output": 30}},
        {"above": 20, "rates": {"input": 20, "output": 60}},
    ]


async def test_the_data_plane_is_told_of_the_platforms_prices_alone(accounts: Accounts) -> None:
    acme = await accounts.organization("Acme")
    owner = with_key("key_1", acme, ("pricing:read", "pricing:write"))
    since = await accounts.last_seq()
    own = await create(accounts, owner)
    await end(accounts, own.id, actor=owner)
    assert await accounts.changes(since) == []
    made = await create(accounts)
    later = await follow(accounts, made.id, rates={"input": 1})
    await end(accounts, later.id)
    told = [(kind, id) for kind, id, _ in await accounts.changes(since)]
    assert told == [("pricing", made.id), ("pricing", later.id), ("pricing", later.id)]
