"""Bringing the stored prices in line with the configuration and with the list of default prices.

A price of the configuration that is seen for the first time holds from the beginning, so that what was used before the
sidecar had started is priced; a change of it holds from when it is seen. One that is gone ends then. Models that run on
this machine cost nothing unless the configuration says otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from itertools import groupby
from typing import Any

import msgspec
from sqlalchemy import select

from gateway.domain.actor import SYSTEM
from gateway.domain.pricing import repo
from gateway.domain.pricing.book import bases_of
from gateway.domain.pricing.defaults import Defaults, default_id, list_version
from gateway.domain.pricing.model import ExchangeRate, PriceVersion
from gateway.domain.pricing.price import EPOCH, Price
from gateway.domain.turns import take_turn
from gateway.domain.work import Work, Works
from gateway.kernel.money import to_nanos
from gateway.settings import model as settings

_PER_1K = 1_000  # thousands in what a rate is for


async def synchronise(work: Work, configured: settings.Settings) -> None:
    """Make the table say what the configuration says. Only for the platform: raises FORBIDDEN for anyone else."""
    work.actor.require_platform()
    await take_turn(work.session, "prices")
    changed = await _configured(work, configured)
    changed |= await _exchanged(work, configured)
    changed |= await _compared(work, bases_of(configured))
    if changed:
        await repo.bump(work.session)


async def complete(works: Works, bases: Mapping[str, str | None]) -> None:
    """Store the whole list of default prices, unless it is there already: for who wants to see all prices."""
    async with works.read(SYSTEM) as work:
        if await repo.whole_list(work.session) == list_version():
            return
    found = await asyncio.to_thread(lambda: list(Defaults(bases).all()))
    async with works.begin(SYSTEM) as work:
        await take_turn(work.session, "prices")
        stored = {(price.provider, price.model) for price in await repo.all_versions(work.session, "default")}
        new = [price for price in found if (price.provider, price.model) not in stored]
        await repo.keep_defaults(work.session, new, work.now)
        state = await repo.state(work.session)
        state.whole_list = list_version()
        await work.session.flush()
        await repo.bump(work.session)


def rates_of(price: settings.Price) -> dict[str, int]:
    """The rates of a configured price, which is told in US dollars per 1,000 tokens."""
    rates = {
        "input": to_nanos(price.input_per_1k) * _PER_1K,
        "output": to_nanos(price.output_per_1k) * _PER_1K,
    }
    if price.cached_input_per_1k is not None:
        rates["cached_input"] = to_nanos(price.cached_input_per_1k) * _PER_1K
    return rates


def wanted_of(configured: settings.Settings) -> dict[tuple[str, str], dict[str, int]]:
    """The rates of every provider's model that the configuration prices."""
    local = {provider.name for provider in configured.providers if provider.kind == "llama_cpp"}
    targets = [target for model in configured.models for target in model.targets]
    free = {
        (target.provider, target.model): {"input": 0, "output": 0} for target in targets if target.provider in local
    }
    return free | {(price.provider, price.model): rates_of(price) for price in configured.pricing}


async def _configured(work: Work, configured: settings.Settings) -> bool:
    query = select(PriceVersion).where(PriceVersion.source == "config").order_by(PriceVersion.number)
    rows = {(row.provider, row.model): row for row in await work.session.scalars(query)}  # the last of each
    wanted = wanted_of(configured)
    changed = False
    for pair, rates in wanted.items():
        former = rows.get(pair)
        if former is not None and former.effective_to is None and former.rates == rates:
            continue
        await _follow(work, pair, rates, former)
        changed = True
    for pair, row in rows.items():
        if pair not in wanted and row.effective_to is None:
            row.effective_to, row.updated_at = max(work.now, row.effective_from), work.now
            await work.audit("pricing.deleted", "pricing", row.id, before=_told(row))
            changed = True
    return changed


async def _follow(work: Work, pair: tuple[str, str], rates: dict[str, int], former: PriceVersion | None) -> None:
    if former is not None and former.effective_to is None:
        former.effective_to, former.updated_at = max(work.now, former.effective_from), work.now
    row = PriceVersion(
        provider=pair[0],
        model=pair[1],
        source="config",
        effective_from=EPOCH if former is None else work.now,
        currency="USD",
        rates=rates,
        tiers=[],
        hours=[],
        supersedes=None if former is None else former.id,
        created_by=work.actor.id,
        created_at=work.now,
        updated_at=work.now,
    )
    work.session.add(row)
    await work.session.flush()
    action = "pricing.created" if former is None else "pricing.updated"
    before = None if former is None else _told(former)
    await work.audit(action, "pricing", row.id, before=before, after=_told(row))


def _told(row: PriceVersion) -> dict[str, Any]:
    return {"provider": row.provider, "model": row.model, "rates": dict(row.rates), "source": row.source}


async def _exchanged(work: Work, configured: settings.Settings) -> bool:
    wanted = {
        (rate.currency, date.fromisoformat(rate.day)): to_nanos(rate.dollars) for rate in configured.exchange_rates
    }
    rows = {(row.currency, row.day): row for row in await work.session.scalars(select(ExchangeRate))}
    if {key: row.nanos_per_unit for key, row in rows.items()} == wanted:
        return False
    for row in rows.values():
        await work.session.delete(row)
    await work.session.flush()
    work.session.add_all(
        ExchangeRate(currency=currency, day=day, nanos_per_unit=nanos) for (currency, day), nanos in wanted.items()
    )
    after = {f"{currency} {day}": nanos for (currency, day), nanos in wanted.items()}
    await work.audit("exchange_rates.changed", "exchange_rates", None, after=after)
    return True


async def _compared(work: Work, bases: Mapping[str, str | None]) -> bool:
    """Compare the stored default prices with a list that is newer than they are."""
    state = await repo.state(work.session)
    if state.default_list == list_version():
        return False
    stored = await repo.all_versions(work.session, "default")
    if stored:
        defaults = Defaults(bases)
        await asyncio.to_thread(defaults.load)
        stored.sort(key=_pair)
        for pair, versions in groupby(stored, _pair):
            await _take_up(work, list(versions), defaults.find(*pair))
    state.default_list = list_version()
    await work.session.flush()
    return bool(stored)


async def _take_up(work: Work, stored: Sequence[Price], fresh: Sequence[Price]) -> None:
    ended, added = reconcile(stored, fresh, work.now)
    if ended is not None:
        row = await repo.by_id(work.session, ended.id, lock=True)
        assert row is not None
        row.effective_to, row.updated_at = max(added[0].effective_from, row.effective_from), work.now
        await work.session.flush()
    await repo.keep_defaults(work.session, added, work.now)


def reconcile(stored: Sequence[Price], fresh: Sequence[Price], now: datetime) -> tuple[Price | None, Sequence[Price]]:
    """The stored version that ends, and those that follow it, for one model by a newer list.

    Where the list goes on from what was stored, its own dates hold; where it says otherwise without a date, the change
    holds from now on. A model that has left the list keeps its price.
    """
    current = next((price for price in stored if price.effective_to is None), None)
    if current is None or not fresh or _same(current, fresh[-1]):
        return None, ()
    later = [price for price in fresh if price.effective_from > current.effective_from]
    goes_on = any(_same(price, current) and price.holds(current.effective_from) for price in fresh)
    if later and goes_on:
        return current, later
    last = msgspec.structs.replace(fresh[-1], effective_from=max(now, fresh[-1].effective_from))
    return current, (msgspec.structs.replace(last, id=default_id(last)),)


def _same(one: Price, other: Price) -> bool:
    return (one.rates, one.tiers, one.hours, one.currency) == (other.rates, other.tiers, other.hours, other.currency)


def _pair(price: Price) -> tuple[str, str]:
    return price.provider, price.model
