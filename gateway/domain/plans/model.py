"""The table of plans, filled from the configuration."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON
from sqlalchemy.orm import Mapped, mapped_column

from gateway.kernel.ids import new_id
from gateway.store.base import Base, Number

ACTIVE, RETIRED = "active", "retired"


class Plan(Base):
    """One plan. ``number`` counts in the order of the configuration, from 1, and stays a plan's own for good.

    ``limits`` holds ``{metric, limit, window, sliding, model, provider}`` each, in the metric's unit: money is
    nano-dollars. ``price_nanos`` is None where it is agreed upon in person. ``catalogs`` are the APIs that list it,
    empty for all. A plan that left the configuration is ``retired``: it is no longer listed, and holds for whom it
    held.
    """

    __tablename__ = "plans"

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True, default=lambda: new_id("plan"))
    name: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str]
    tier: Mapped[str]
    description: Mapped[str]
    status: Mapped[str] = mapped_column(default=ACTIVE)
    position: Mapped[int]
    price_nanos: Mapped[int | None]
    currency: Mapped[str]
    interval: Mapped[str]
    trial_days: Mapped[int]
    limits: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    quotas: Mapped[dict[str, Any]]
    features: Mapped[list[str]]
    benefits: Mapped[list[str]]
    catalogs: Mapped[list[str]]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    @property
    def is_free(self) -> bool:
        """Whether it has no price."""
        return self.price_nanos == 0

    def limit_of(self, metric: str, window: str | None) -> int | None:
        """The limit of a metric in a window, over all models and providers; None where there is none."""
        found = [
            item["limit"]
            for item in self.limits
            if item["metric"] == metric
            and item["window"] == window
            and item["model"] is None
            and item["provider"] is None
        ]
        return min(found, default=None)
