"""What a plan costs in a month."""

from __future__ import annotations

import pytest

from gateway.domain.plans.conversion import monthly_price
from gateway.domain.plans.model import Plan
from gateway.kernel.money import to_nanos


@pytest.mark.parametrize(
    ("price", "interval", "month"),
    [
        (29.99, "month", 29.99),
        (120, "year", 10),
        (100, "year", 8.333333333),
        (12, "week", 52),
        (1.2, "day", 36.5),
        (99, "once", 99),
        (0, "month", 0),
    ],
)
def test_prices_of_other_intervals(price: float, interval: str, month: float) -> None:
    assert monthly_price(Plan(price_nanos=to_nanos(price), interval=interval)) == to_nanos(month)


def test_what_is_agreed_upon_in_person() -> None:
    assert monthly_price(Plan(price_nanos=None, interval="year")) is None
