"""Bringing the stored prices in line with the configuration and with the list of default prices.

A price of the configuration that is seen for the first time holds from the beginning, so that what was used before the
sidecar had started is priced; a change of it holds from when it is seen. Prices with a day hold from that day on. One
that is gone ends then. Models that run on this machine cost nothing unless the configuration says otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import select

from gateway.domain.actor import SYSTEM
from gateway.domain.pricing import repo
from gateway.domain.pricing.book import bases_of
from gateway.domain.pricing.checks import check_rates
from gateway.domain.pricing.defaults import Defaults, default_id, list_version
from gateway.domain.pricing.model import ExchangeRate, PriceVersion
from gateway.domain.pricing.price import EPOCH, Price, Tier
from gateway.domain.turns import take_turn
from gateway.domain.work import Work, Works
from gateway.kernel.money import to_nanos
from gateway.settings import model as settings
from gateway.settings.pricing import rates_of


async def synchronise(work: Work, configured: settings.Settings) -> None:
    """Make the table say what the configuration says. Only for the platform: raises FORBIDDEN for anyone else."""
    work.actor.require_platform()
    await take_turn(work.session, "prices")
    changed = await _configured(work, configured)
    changed |= await _exchanged(work, configured)
    changed |= await _compared(work, bases_of(configured))
    if changed:
        await repo.bump(work.session)
        work.changed("pricing", "config")


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


class Wanted(Struct, frozen=True):
    """One version that the configuration tells: from when on (None: from when it is read), and the columns it has."""

    begins: datetime | None
    columns: dict[str, Any]


def wanted_of(configured: settings.Settings) -> dict[tuple[str, str], list[Wanted]]:
    """The versions of every provider's model that the configuration prices, in the order they begin."""
    local = {provider.name for provider in configured.providers if provider.kind == "llama_cpp"}
    targets = [target for model in configured.models for target in model.targets]
    free = check_rates({"input": 0, "output": 0}, (), "USD")
    wanted = {(target.provider, target.model): [Wanted(None, free)] for target in targets if target.provider in local}
    told: dict[tuple[str, str], list[Wanted]] = {}
    for price in configured.pricing:
        tiers = [Tier(tier.above_prompt_tokens, rates_of(tier)) for tier in price.tiers]
        columns = check_rates(rates_of(price), tiers, price.currency)
        day = price.effective_from
        begins = None if day is None else datetime.fromisoformat(day).replace(tzinfo=UTC)
        told.setdefault((price.provider, price.model), []).append(Wanted(begins, columns))
    for versions in told.values():
        versions.sort(key=lambda version: version.begins or EPOCH)
    return wanted | told


async def _configured(work: Work, configured: settings.Settings) -> bool:
    query = select(PriceVersion).where(PriceVersion.source == "config").order_by(PriceVersion.number)
    rows: dict[tuple[str, str], list[PriceVersion]] = {}
    for row in await work.session.scalars(query):
        rows.setdefault((row.provider, row.model), []).append(row)
    wanted = wanted_of(configured)
    changed = False
    for pair, versions in wanted.items():
        held = [row for row in rows.get(pair, ()) if row.effective_to is None or row.effective_from < row.effective_to]
        change = _Change(work, pair, held)
        if len(versions) == 1 and versions[0].begins is None:
            await change.to_undated(versions[0], first=not rows.get(pair))
        else:
            await change.to_dated(versions)
        changed |= change.made
    for pair, gone in rows.items():
        if pair not in wanted:
            for row in gone:
                changed |= await _Change(work, pair, []).end(row, work.now)
    return changed


class _Change:
    """The change of one price of the configuration; ``held`` are its versions that hold at some time."""

    def __init__(self, work: Work, pair: tuple[str, str], held: list[PriceVersion]) -> None:
        self.work = work
        self.pair = pair
        self.held = sorted(held, key=lambda row: row.effective_from)
        self.made = False

    async def to_undated(self, wanted: Wanted, *, first: bool) -> None:
        """It holds from now on, or from the beginning where it is the first that is seen."""
        now = self.work.now
        current = [row for row in self.held if row.effective_to is None or row.effective_to > now]
        if len(current) == 1 and current[0].effective_to is None and _is(current[0], wanted):
            return
        for row in current:
            await self._cut(row, now)
        await self._add(EPOCH if first else now, None, wanted, self.held[-1] if self.held else None)

    async def to_dated(self, versions: list[Wanted]) -> None:
        """Each holds from its day until the next one's. What held before the first day stays as it was."""
        begins = [version.begins or EPOCH for version in versions]
        ends: list[datetime | None] = [*begins[1:], None]
        spans = {start: (end, version) for start, end, version in zip(begins, ends, versions, strict=True)}
        for row in self.held:
            span = spans.get(row.effective_from)
            if span is not None and _is(row, span[1]):
                del spans[row.effective_from]
                if row.effective_to != span[0]:
                    await self._reach(row, span[0])
            elif row.effective_to is None or row.effective_to > begins[0]:
                await self._cut(row, begins[0])
        before = next((row for row in reversed(self.held) if row.effective_from < begins[0]), None)
        for start, (end, version) in sorted(spans.items()):
            before = await self._add(start, end, version, before)

    async def end(self, row: PriceVersion, at: datetime) -> bool:
        """A version that the configuration does not tell any more; gives whether it still held."""
        if row.effective_to is not None and row.effective_to <= max(at, row.effective_from):
            return False
        await self._cut(row, at)
        await self.work.audit("pricing.deleted", "pricing", row.id, before=_told(row))
        return True

    async def _cut(self, row: PriceVersion, at: datetime) -> None:
        await self._reach(row, max(at, row.effective_from))

    async def _reach(self, row: PriceVersion, end: datetime | None) -> None:
        row.effective_to, row.updated_at = end, self.work.now
        self.made = True
        await self.work.session.flush()

    async def _add(
        self, start: datetime, end: datetime | None, wanted: Wanted, former: PriceVersion | None
    ) -> PriceVersion:
        work = self.work
        row = PriceVersion(
            provider=self.pair[0],
            model=self.pair[1],
            source="config",
            effective_from=start,
            effective_to=end,
            supersedes=None if former is None else former.id,
            created_by=work.actor.id,
            created_at=work.now,
            updated_at=work.now,
            **wanted.columns,
        )
        work.session.add(row)
        await work.session.flush()
        action = "pricing.created" if former is None else "pricing.updated"
        before = None if former is None else _told(former)
        await work.audit(action, "pricing", row.id, before=before, after=_told(row))
        self.made = True
        return row


def _is(row: PriceVersion, wanted: Wanted) -> bool:
    tiers = wanted.columns["tiers"]
    return (row.rates, list(row.tiers or ()), row.currency) == (
        wanted.columns["rates"],
        tiers,
        wanted.columns["currency"],
    )


def _told(row: PriceVersion) -> dict[str, Any]:
    told = {"provider": row.provider, "model": row.model, "rates": dict(row.rates), "source": row.source}
    return told | {
        "tiers": list(row.tiers or ()),
        "currency": row.currency,
        "effective_from": row.effective_from.isoformat(),
    }


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
