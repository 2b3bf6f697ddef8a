"""The tables of notices, and of who watches. Times are Unix nanoseconds."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from gateway.store.base import Base, Number

Event: TypeAlias = Literal["budget.threshold_exceeded", "forecast.anomaly_detected", "forecast.generated"]

THRESHOLD: Final = "budget.threshold_exceeded"
ANOMALY: Final = "forecast.anomaly_detected"
FORECAST: Final = "forecast.generated"
EVENTS: Final[tuple[Event, ...]] = (THRESHOLD, ANOMALY, FORECAST)


class Notice(Base):
    """Something that was noticed of an organisation, once: ``key`` says what it is about.

    ``event`` is one of :data:`EVENTS`, ``data`` JSON: a :class:`.budgets.Crossed`,
    :class:`gateway.domain.forecasts.anomalies.Anomaly` or :class:`gateway.domain.forecasts.forecast.Forecast`.
    ``expires_ns`` is when it may go; it is there for as long as the same could be noticed again. None for as long as
    there is the ``budget`` that it is about; for good where that is one of ``gateway.yaml``, which has no id.
    """

    __tablename__ = "notices"
    # A number is told once: it must not be given out again after what is too old has gone.
    __table_args__ = (Index(None, "expires_ns"), {"sqlite_autoincrement": True})

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    key: Mapped[str] = mapped_column(unique=True)
    organization: Mapped[str]
    event: Mapped[str]
    budget: Mapped[str | None]
    at_ns: Mapped[int]
    expires_ns: Mapped[int | None]
    data: Mapped[str]


class Watch(Base):
    """Which of several sidecars does a work, and until when unless it says so again."""

    __tablename__ = "watches"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    until_ns: Mapped[int]
