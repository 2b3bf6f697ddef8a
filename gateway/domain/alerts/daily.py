"""What is noticed of an organisation once a day: its forecast, and days that were out of the ordinary."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.alerts.model import ANOMALY, FORECAST
from gateway.domain.alerts.repo import New
from gateway.domain.analytics.periods import to_ns
from gateway.domain.forecasts.anomalies import anomaly_on
from gateway.domain.forecasts.forecast import forecast
from gateway.domain.forecasts.series import Series
from gateway.domain.ledger.levels import DAY, ORGANIZATIONS

SETTLING: Final = timedelta(minutes=15)
"""After midnight (UTC) until a day is looked at: requests that began in it may still be under way."""
LOOKED_BACK: Final = 3
"""Days that are looked at: a gateway that was off over a weekend misses none."""
RECENT: Final = 30
"""Days within which an organisation must have used something to be looked at."""
ALERTS_KEPT: Final = timedelta(days=90)
FORECASTS_KEPT: Final = timedelta(days=7)


def today(now: datetime) -> date:
    """The day whose turn it is: every day before it is over and settled."""
    return (now.astimezone(UTC) - SETTLING).date()


async def organizations(session: AsyncSession, day: date) -> list[str]:
    """Those that used something lately."""
    sums = ORGANIZATIONS.table(DAY).c
    begin, end = (to_ns(_midnight(each)) // 1_000_000_000 for each in (day - timedelta(days=RECENT), day))
    query = select(sums.organization).where(sums.start >= begin, sums.start < end).distinct()
    return list(await session.scalars(query.order_by(sums.organization)))


def forecast_key(organization: str, day: date) -> str:
    """What a forecast is known by: one of an organisation and day."""
    return f"forecast|{organization}|{day}"


def forecast_of(series: Series, organization: str, day: date) -> New | None:
    """The forecast of a day, from the days before it; None where these are too few."""
    found = forecast(series)
    if found is None:
        return None
    return New(
        key=forecast_key(organization, day),
        organization=organization,
        event=FORECAST,
        data=found,
        expires_ns=to_ns(_midnight(day) + FORECASTS_KEPT),
    )


def anomalies_of(series: Series, organization: str, day: date) -> Iterator[New]:
    """Those of the last days before ``day``."""
    for back in range(LOOKED_BACK, 0, -1):
        looked_at = day - timedelta(days=back)
        found = anomaly_on(series, looked_at)
        if found is not None:
            yield New(
                key=f"anomaly|{organization}|{looked_at}",
                organization=organization,
                event=ANOMALY,
                data=found,
                expires_ns=to_ns(_midnight(looked_at) + ALERTS_KEPT),
            )


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
