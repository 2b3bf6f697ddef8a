"""Sums by tag and by project are the same from the tables of sums as from the entries."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from gateway.domain.actor import SYSTEM
from gateway.domain.analytics import tags
from gateway.domain.analytics.tags import Grouping
from gateway.domain.ledger.corrections import Meant, rerate
from gateway.domain.ledger.query import Filter, Sums
from gateway.store.engine import Store
from tests.support.accounts import Accounts
from tests.support.usage import START
from tests.unit.domain.ledger.support import PerToken, enter, event

HOUR_NS = 3_600_000_000_000
EVERYTHING = ("usage", "external", "reversal", "adjustment")


async def filled(store: Store) -> None:
    times = [0, 0, 0.2, 3, 30, 31, 31.5, 200]
    tagged: list[dict[str, str]] = [
        {}, {"project": "shop"}, {"project": "blog", "team": "red"}, {"Project": "shop", "flag": ""}, {"project": ""},
        {"project": "shop", "team": "blue"}, {"projects": "x", "project": "y" * 450}, {"team": "red"},
    ]  # fmt: skip
    await enter(
        store,
        *(
            event(number, started_ns=(at := START + int(hours * HOUR_NS)), ended_ns=at, first_token_ns=None, tags=told,
                  organization="acme" if number % 3 else "other", provider="fake" if number % 2 else "p2")
            for number, (hours, told) in enumerate(zip(times, tagged, strict=True))
        ),
    )  # fmt: skip
    async with Accounts(store).begin(SYSTEM) as work:
        await rerate(work, PerToken(3, "price_2"), Meant(provider="p2", model="fake-chat"))


async def sums(store: Store, wanted: Filter, by: tuple[Grouping, ...], bucket: Any) -> list[Sums]:
    async with store.reading() as session:
        return await tags.sums(session, wanted, by, bucket, is_sqlite=store.is_sqlite)


@pytest.mark.parametrize(
    "by",
    [("tag",), ("project",), ("provider", "project"), ("project", "organization", "model"), ("organization", "tag"),
     ("tag", "project"), ("user", "project")],
)  # fmt: skip
async def test_they_are_those_of_the_entries(store: Store, by: tuple[Grouping, ...]) -> None:
    await filled(store)
    spans = [(None, None), (START + 1, START + 31 * HOUR_NS), (START - 20 * HOUR_NS, START + 100 * HOUR_NS)]
    filters: list[dict[str, Any]] = [{}, {"organization": "acme"}, {"providers": ("p2",), "models": ("fake-chat",)}]
    for (begin, end), of, bucket in product(spans, filters, (None, "hour", "week")):
        wanted: dict[str, Any] = {**of, "from_ns": begin, "until_ns": end}
        found = await sums(store, Filter(**wanted), by, bucket)
        assert found == await sums(store, Filter(**wanted, kinds=EVERYTHING), by, bucket), wanted
        assert found, wanted


async def test_what_has_no_project_is_what_is_left(store: Store) -> None:
    await filled(store)
    found = {item.group: (item.requests, item.cost_nanos) for item in await sums(store, Filter(), ("project",), None)}
    assert found == {
        ("",): (4, 158 * 2 + 3 * 158 * 2),
        ("blog",): (1, 3 * 158),
        ("shop",): (2, 158 * 2),
        ("y" * 392,): (1, 3 * 158),
    }
