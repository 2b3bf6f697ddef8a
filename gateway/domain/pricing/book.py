"""The prices in memory, for whoever rates many requests.

::

    book = PriceBook(bases_of(settings))
    await book.refresh(session)                   once a batch: one query unless the prices have changed
    price = book.at("openai", "gpt-4o", event.started_ns)
    rated = None if price is None else book.rate(price, Quantities(prompt=…, completion=…), event.started_ns)
    await book.keep(session, now)                 stores the default prices that were used, in the same transaction
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.pricing import rating, repo
from gateway.domain.pricing.currency import ExchangeRates
from gateway.domain.pricing.defaults import Defaults
from gateway.domain.pricing.price import EPOCH, Price, Quantities, Rated
from gateway.kernel.rates import tells
from gateway.settings.model import Settings


class PriceBook:
    """Prices of one moment, looked up by binary search.

    ``bases`` are the base URLs of the gateway's providers, by which default prices are found.
    """

    def __init__(self, bases: Mapping[str, str | None] | None = None) -> None:
        self.defaults = Defaults(bases)
        """The list of default prices, by the same base URLs."""
        self._revision = -1
        self._series: dict[tuple[str, str, str, str | None], _Series] = {}
        self._stored: set[str] = set()
        self._used: dict[str, Price] = {}
        self.exchange = ExchangeRates()
        self.calculated: Counter[str] = Counter()
        """Costs calculated, by provider."""

    async def refresh(self, session: AsyncSession) -> bool:
        """Read the prices anew where they have changed since; gives whether they had."""
        revision = await repo.revision(session)
        if revision == self._revision:
            return False
        self.take(await repo.all_versions(session), ExchangeRates(await repo.exchange_rates(session)))
        self._revision = revision
        return True

    def take(self, prices: Iterable[Price], rates: ExchangeRates) -> None:
        """Hold these prices and exchange rates instead."""
        groups: dict[tuple[str, str, str, str | None], list[Price]] = {}
        self._stored = set()
        for price in prices:
            self._stored.add(price.id)
            groups.setdefault((price.source, price.provider, price.model, price.organization), []).append(price)
        self._series = {key: _Series(found) for key, found in groups.items()}
        self._used = {id: price for id, price in self._used.items() if id not in self._stored}
        self.exchange = rates

    def at(self, provider: str, model: str, at_ns: int, organization: str | None = None) -> Price | None:
        """The price in force at a time in Unix nanoseconds: by API, else by configuration, else by default.

        With an ``organization``, what it has set for itself comes first: for usage that it tells itself. What goes
        through the gateway is rated without. None: nobody knows what it costs.
        """
        at = moment(at_ns)
        if organization is not None:
            own = self._in("api", provider, model, organization, at)
            if own is not None:
                return own
        for source in ("api", "config", "default"):
            price = self._in(source, provider, model, None, at)
            if price is not None:
                return price
        if ("default", provider, model, None) in self._series:
            return None
        return self._default(provider, model, at)

    def stored(self, source: str, provider: str, model: str) -> Sequence[Price] | None:
        """The platform's versions of one price that the table holds of a source, in the order they begin; None where it
        holds none.
        """
        series = self._series.get((source, provider, model, None))
        return None if series is None else series.prices

    def rate(self, price: Price, used: Quantities, at_ns: int) -> Rated | None:
        """What it costs; None where nobody can tell.

        That is so where no exchange rate of its currency is known, and where it is for images or seconds of sound alone
        and what was used tells none.
        """
        if not tells(price.rates, used.images, used.audio_seconds):
            return None
        # Most prices are in US dollars, and the same at every hour.
        at = EPOCH if price.currency == "USD" and not price.hours else moment(at_ns)
        fx_rate = self.exchange.at(price.currency, at.date())
        if fx_rate is None:
            return None
        self.calculated[price.provider] += 1
        return rating.rate(price, used, at, fx_rate)

    async def keep(self, session: AsyncSession, now: datetime) -> None:
        """Store the default prices that were used and that the table does not hold yet, so that their ids are known."""
        if self._used:
            kept = dict(sorted(self._used.items()))  # two writers that meet wait in one order
            await repo.keep_defaults(session, kept.values(), now)
            # A transaction that is rolled back stores none: the next one must.
            event.listen(session.sync_session, "after_commit", lambda _: self._are_stored(kept), once=True)

    def _are_stored(self, kept: Mapping[str, Price]) -> None:
        self._stored.update(kept)
        self._used = {id: price for id, price in self._used.items() if id not in kept}

    def _in(self, source: str, provider: str, model: str, organization: str | None, at: datetime) -> Price | None:
        series = self._series.get((source, provider, model, organization))
        return None if series is None else series.at(at)

    def _default(self, provider: str, model: str, at: datetime) -> Price | None:
        versions = self.defaults.find(provider, model)
        for price in versions:
            if price.holds(at):
                # All of them are stored, so that the table tells the whole of this price.
                self._used |= {each.id: each for each in versions if each.id not in self._stored}
                return price
        return None


class _Series:
    """The versions of one price, in the order they begin; they do not overlap."""

    def __init__(self, prices: list[Price]) -> None:
        held = [price for price in prices if price.effective_to is None or price.effective_from < price.effective_to]
        self.prices = sorted(held, key=lambda price: price.effective_from)
        self._starts = [price.effective_from for price in self.prices]

    def at(self, at: datetime) -> Price | None:
        index = bisect_right(self._starts, at) - 1
        if index < 0:
            return None
        price = self.prices[index]
        return price if price.effective_to is None or at < price.effective_to else None


def moment(at_ns: int) -> datetime:
    """A time in Unix nanoseconds, to the microsecond."""
    return EPOCH + timedelta(microseconds=at_ns // 1_000)


def nanoseconds(at: datetime) -> int:
    """A time as Unix nanoseconds."""
    return (at.astimezone(UTC) - EPOCH) // timedelta(microseconds=1) * 1_000


def bases_of(settings: Settings) -> dict[str, str | None]:
    """The base URLs of the configured providers, by name."""
    return {provider.name: provider.base_url for provider in settings.providers}
