"""Exchange rates by day."""

from __future__ import annotations

from datetime import date

import pytest

from gateway.domain.pricing.currency import CURRENCIES, DayRate, ExchangeRates, shipped


# The European Central Bank's reference rates of 2 January 2024: a euro was $1.0956, GBP 0.86645 and JPY 155.68.
@pytest.mark.parametrize(
    ("currency", "dollars"),
    [("USD", 1), ("EUR", 1.0956), ("GBP", 1.0956 / 0.86645), ("JPY", 1.0956 / 155.68)],
)
def test_published_rates(currency: str, dollars: float) -> None:
    found = ExchangeRates().at(currency, date(2024, 1, 2))
    assert found is not None
    assert found == pytest.approx(dollars * 1e9, rel=1e-6)


def test_every_documented_currency_has_a_rate_of_every_day() -> None:
    rates = ExchangeRates()
    for currency in CURRENCIES:
        for day in (date(2000, 1, 1), date(2023, 7, 1), date(2026, 7, 5), date(2040, 1, 1)):
            found = rates.at(currency, day)
            assert found is not None
            assert found > 1_000_000


def test_a_day_without_a_rate_has_that_of_the_day_before() -> None:
    rates = ExchangeRates()
    friday, sunday, monday = date(2024, 3, 1), date(2024, 3, 3), date(2024, 3, 4)
    assert sunday not in shipped()["EUR"]
    assert rates.at("EUR", sunday) == rates.at("EUR", friday) == shipped()["EUR"][friday]
    assert rates.at("EUR", monday) == shipped()["EUR"][monday]


def test_own_rates_come_first_on_their_day() -> None:
    last = max(shipped()["EUR"])
    own = ExchangeRates([DayRate("EUR", date(2024, 3, 3), 5), DayRate("EUR", last, 7), DayRate("CHF", last, 9)])
    assert own.at("EUR", date(2024, 3, 3)) == 5
    assert own.at("EUR", date(2024, 3, 4)) == shipped()["EUR"][date(2024, 3, 4)]
    assert own.at("EUR", date(2050, 1, 1)) == 7
    assert own.at("CHF", date(2024, 1, 1)) == 9
    assert own.at("GBP", last) == shipped()["GBP"][last]


def test_a_currency_nobody_knows() -> None:
    assert ExchangeRates().at("XXX", date(2024, 1, 2)) is None
