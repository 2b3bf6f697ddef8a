"""The default prices: the list of the package ``genai-prices``, as of its release, in this project's units.

Of a model's prices the standard ones are taken, not those of batches or of other service tiers, and of what is charged
those kinds that a request's usage tells: tools, such as web searches, are not among them. A model that is paid by what
is not counted here (characters, pages) has no price, rather than a wrong one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, time
from decimal import ROUND_HALF_EVEN, Decimal
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.domain.pricing.price import EPOCH, KINDS, NANOS, UNITS, Hours, Price, Tier

if TYPE_CHECKING:
    from genai_prices import types as listed

PACKAGE = "genai-prices"
_MOST = 10_000  # models looked for, whoever names them
# What a rate is called there, and for how many it is told.
_RATES: dict[str, tuple[str, int]] = {
    "input": ("input_mtok", 1_000_000),
    "cached_input": ("cache_read_mtok", 1_000_000),
    "cache_write": ("cache_write_mtok", 1_000_000),
    "cache_write_1h": ("cache_write_1h_mtok", 1_000_000),
    "input_audio": ("input_audio_mtok", 1_000_000),
    "input_image": ("input_image_mtok", 1_000_000),
    "output": ("output_mtok", 1_000_000),
    "reasoning": ("output_reasoning_mtok", 1_000_000),
    "output_audio": ("output_audio_mtok", 1_000_000),
    "output_image": ("output_image_mtok", 1_000_000),
    "request": ("requests_kcount", 1_000),
    "audio_second": ("input_audio_hours", 3_600),
}
_ALSO: dict[str, tuple[str, int]] = {"audio_second": ("audio_hours", 3_600)}
# A model that is paid by these can't be priced by what is counted.
_UNCOUNTED = (
    "input_mchars",
    "input_text_messages_kcount",
    "input_document_kpages",
    "input_annotated_document_kpages",
    "input_gpixels",
    "output_audio_hours",
)


def list_version() -> str:
    """The version of the list; asking for it loads nothing."""
    return version(PACKAGE)


class About(NamedTuple):
    """What the list says of a model beside its price. ``context_window`` is in tokens."""

    name: str | None
    context_window: int | None


class Defaults:
    """The list. ``bases`` are the base URLs of the gateway's providers, by name.

    A provider is known by its base URL, else by its name, which must be the list's own: ``openai``, ``anthropic``,
    ``google``, ``azure``, ``aws``, ``cohere``, ``mistral`` and so on. Loading the list takes about half a second and
    30 MB, and is done when it is first asked.
    """

    def __init__(self, bases: Mapping[str, str | None] | None = None) -> None:
        self._bases = dict(bases or {})
        self._found: dict[tuple[str, str], tuple[Price, ...]] = {}
        self._about: dict[tuple[str, str], About | None] = {}

    def load(self) -> None:
        """Load the list, which may be done in a thread."""
        _providers()

    def find(self, provider: str, model: str) -> tuple[Price, ...]:
        """Every version of a price, the oldest first; none for what the list does not know."""
        pair = (provider, model)
        found = self._found.get(pair)
        if found is None:
            if len(self._found) >= _MOST:
                self._found.clear()
            found = self._found[pair] = self._look(provider, model)
        return found

    def about(self, provider: str, model: str) -> About | None:
        """What the list says of a model beside its price; None where it does not know it."""
        pair = (provider, model)
        if pair not in self._about:
            if len(self._about) >= _MOST:
                self._about.clear()
            info = self._info(provider, model)
            self._about[pair] = None if info is None else About(info.name, info.context_window)
        return self._about.get(pair)

    def all(self) -> Iterator[Price]:
        """The whole list, by the names it uses itself."""
        for provider in _providers():
            for model in provider.models:
                yield from self._look(provider.id, model.id)

    def providers(self) -> frozenset[str]:
        """The names of the list's providers."""
        return frozenset(provider.id for provider in _providers())

    def _look(self, provider: str, model: str) -> tuple[Price, ...]:
        info = self._info(provider, model)
        return () if info is None else tuple(_versions(provider, model, info))

    def _info(self, provider: str, model: str) -> listed.ModelInfo | None:
        listed_provider = self._provider(provider)
        return None if listed_provider is None else listed_provider.find_model(model, all_providers=_providers())

    def _provider(self, name: str) -> listed.Provider | None:
        base = self._bases.get(name)
        for provider in _providers():
            if base is not None and re.match(provider.api_pattern, base):
                return provider
        return next((provider for provider in _providers() if provider.id == name), None)


def _providers() -> list[listed.Provider]:
    # A megabyte and a half of code: only who needs a default price pays for it.
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415

    return get_snapshot().providers


def _versions(provider: str, model: str, info: listed.ModelInfo) -> Iterable[Price]:
    dated, hours = _conditions(info)
    for index, (start, prices) in enumerate(dated):
        converted = _rates(prices)
        if converted is None:
            return
        rates, tiers = converted
        end = dated[index + 1][0] if index + 1 < len(dated) else None
        price = Price(
            id="",
            provider=provider,
            model=model,
            source="default",
            effective_from=start,
            effective_to=end,
            rates=rates,
            tiers=tiers,
            hours=hours,
        )
        yield msgspec.structs.replace(price, id=default_id(price))


def default_id(price: Price) -> str:
    """An id that is the same wherever and whenever the same default price is found."""
    told = (price.provider, price.model, price.effective_from, price.currency, price.rates, price.tiers, price.hours)
    digest = hashlib.sha256(msgspec.json.encode(told, order="sorted")).hexdigest()
    return f"price_{digest[:26]}"


def _conditions(
    info: listed.ModelInfo,
) -> tuple[list[tuple[datetime, listed.ModelPrice]], tuple[Hours, ...]]:
    """The prices by the day they begin, and those of hours of the day, which come before them."""
    from genai_prices.types import (  # noqa: PLC0415 - as above
        ModelPrice,
        StartDateConstraint,
        TimeOfDateConstraint,
    )

    if isinstance(info.prices, ModelPrice):
        return [(EPOCH, info.prices)], ()
    dated: dict[datetime, listed.ModelPrice] = {}
    hours: list[Hours] = []
    for index, item in enumerate(info.prices):
        limit = item.constraint
        if limit is None or index == 0:
            dated[EPOCH] = item.prices
        elif isinstance(limit, StartDateConstraint):
            dated[datetime.combine(limit.start_date, datetime.min.time(), UTC)] = item.prices
        elif isinstance(limit, TimeOfDateConstraint):
            converted = _rates(item.prices)
            if converted is not None:
                hours.append(Hours(_second(limit.start_time), _second(limit.end_time), converted[0]))
    return sorted(dated.items(), key=lambda pair: pair[0]), tuple(hours)


def _second(time: time) -> int:
    return time.hour * 3600 + time.minute * 60 + time.second


def _rates(prices: listed.ModelPrice) -> tuple[dict[str, int], tuple[Tier, ...]] | None:
    """The rates, and those above each number of prompt tokens; None where they can't be told in what is counted."""
    from genai_prices.types import TieredPrices  # noqa: PLC0415 - as above

    told = [(kind, *found) for kind in KINDS if (found := _told(prices, kind)) is not None]
    if not told or any(getattr(prices, name) is not None for name in _UNCOUNTED):
        return None
    base: dict[str, int] = {}
    steps: dict[int, dict[str, int]] = {}
    for kind, value, per in told:
        if isinstance(value, TieredPrices):
            base[kind] = _units(value.base, per)
            for tier in value.tiers:
                steps.setdefault(tier.start, {})[kind] = _units(tier.price, per)
        else:
            base[kind] = _units(value, per)
    return base, tuple(_tiers(base, steps))


def _tiers(base: dict[str, int], steps: dict[int, dict[str, int]]) -> Iterator[Tier]:
    # A tier tells every rate, those too that stay as they are below it.
    rates = base
    for above in sorted(steps):
        rates = rates | steps[above]
        yield Tier(above, rates)


def _told(prices: listed.ModelPrice, kind: str) -> tuple[Decimal | listed.TieredPrices, int] | None:
    for names in (_RATES, _ALSO):
        if kind in names:
            name, per = names[kind]
            value = getattr(prices, name)
            if value is not None:
                return value, per
    return None


def _units(dollars: Decimal, per: int) -> int:
    """Nano-dollars for 1,000,000, of dollars for ``per``."""
    return int((dollars * NANOS * UNITS / per).to_integral_value(ROUND_HALF_EVEN))
