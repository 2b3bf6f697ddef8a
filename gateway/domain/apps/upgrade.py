"""Another tier for an app. No payment is taken: the gateway keeps no means of one."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from msgspec import Struct

from gateway.domain.apps.model import App
from gateway.domain.apps.service import CATALOG, AppService
from gateway.domain.fields import invalid
from gateway.domain.plans.model import Plan
from gateway.domain.plans.service import PlanService
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind

Billed = Literal["monthly", "yearly"]
_MONTHS: Final[dict[Billed, int]] = {"monthly": 1, "yearly": 12}


class Upgraded(Struct, frozen=True):
    """An app on its new tier. ``cost_nanos`` is the list price of a period, ``next_date`` when the next one begins."""

    app: App
    before: Plan | None
    now: Plan
    billed: Billed
    cost_nanos: int | None
    next_date: datetime


async def upgrade(work: Work, reference: str, tier: str, billed: Billed, *, confirmed: bool) -> Upgraded:
    """Put an app on a tier that costs more; needs ``apps:write`` for its organization, as another app there would.

    A tier whose price is agreed upon is for the platform's administrators to give. Raises INVALID ``unknown_tier``,
    ``not_an_upgrade`` and ``not_confirmed``, FORBIDDEN ``insufficient_permissions``, and NOT_FOUND ``app_not_found``.
    """
    apps, plans = AppService(work), PlanService(work)
    app = await apps.get(reference)
    if not confirmed:
        raise invalid("confirmUpgrade must be true.", "confirmUpgrade", "not_confirmed")
    before, wanted = await plans.find(app.plan), await plans.of_tier(CATALOG, tier)
    higher = [plan.name for plan in await plans.upgrades(app.plan, CATALOG)]
    if wanted.name not in higher:
        held = "none" if before is None else before.tier
        raise invalid(f"targetTier must be above the present one, {held}.", "targetTier", "not_an_upgrade")
    if wanted.price_nanos is None and not work.actor.is_platform_admin:
        message = f"The price of {wanted.tier} is agreed upon: an administrator of the platform gives this tier."
        raise GatewayError(Kind.FORBIDDEN, "insufficient_permissions", message, "targetTier")
    app = await apps.set_tier(app.app_id, tier)
    months = _MONTHS[billed]
    cost = None if wanted.price_nanos is None else wanted.price_nanos * months
    return Upgraded(app, before, wanted, billed, cost, _begins(work.now, months))


def _begins(now: datetime, months: int) -> datetime:
    """The first of the calendar's month in so many months, as limits of a month begin anew."""
    years, month = divmod(now.year * 12 + now.month - 1 + months, 12)
    return now.replace(year=years, month=month + 1, day=1, hour=0, minute=0, second=0, microsecond=0)
