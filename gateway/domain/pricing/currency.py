"""What a unit of a currency is worth in US dollars on a day: see :mod:`gateway.kernel.currency`."""

from gateway.kernel.currency import CURRENCIES, DayRate, ExchangeRates, shipped

__all__ = ["CURRENCIES", "DayRate", "ExchangeRates", "shipped"]
