"""Plans: brought in line with the configuration, and looked up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from msgspec import Struct
from sqlalchemy import select

from gateway.domain.apps.model import App
from gateway.domain.organizations.model import Organization
from gateway.domain.plans.conversion import columns
from gateway.domain.plans.model import ACTIVE, RETIRED, Plan
from gateway.domain.rows import number_of
from gateway.domain.turns import take_turn
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind
from gateway.settings import model as settings

Plans: TypeAlias = list[Plan]
_MOST_TOLD = 1_000


class Synchronised(Struct, frozen=True):
    """The names of the plans that were added, changed and retired."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()


class PlanService:
    """What can be done with plans, within one work."""

    def __init__(self, work: Work) -> None:
        self.work = work

    async def synchronise(self, plans: Sequence[settings.Plan]) -> Synchronised:
        """Make the table say what the configuration says. Every organisation and app on a changed plan hears of it.

        Plans that are gone are retired, not deleted. Only for the platform: raises FORBIDDEN for anyone else.
        """
        self.work.actor.require_platform()
        # Two sidecars that start together would both find a plan missing.
        await take_turn(self.work.session, "plans")
        rows = {row.name: row for row in await self._all()}
        next_number = max((row.number for row in rows.values()), default=0) + 1
        added, changed = [], []
        for position, plan in enumerate(plans):
            values = columns(plan) | {"position": position, "status": ACTIVE}
            row = rows.pop(plan.name, None)
            if row is None:
                # Numbered here, in the order of the file: a sequence leaves gaps where a work is rolled back.
                await self._add(plan.name, next_number, values)
                next_number += 1
                added.append(plan.name)
            elif await self._change(row, values):
                changed.append(plan.name)
        retired = [row.name for row in rows.values() if await self._change(row, {"status": RETIRED})]
        return Synchronised(tuple(added), tuple(changed), tuple(retired))

    async def get(self, reference: str | int) -> Plan:
        """A plan by its name, its id or its number. Raises NOT_FOUND ``plan_not_found``."""
        number = number_of(reference)
        named = (Plan.name == str(reference)) | (Plan.id == str(reference))
        query = select(Plan).where(named if number is None else Plan.number == number)
        row = await self.work.session.scalar(query)
        if row is None:
            raise GatewayError(Kind.NOT_FOUND, "plan_not_found", f"There is no plan {reference!r}.", "plan")
        return row

    async def find(self, name: str | None) -> Plan | None:
        """The plan of a name; None for none, and for a name that no plan has."""
        if name is None:
            return None
        return await self.work.session.scalar(select(Plan).where(Plan.name == name))

    async def of_tier(self, catalog: str, tier: str) -> Plan:
        """The plan an API lists under a tier such as ``DEVELOPER``. Raises INVALID ``unknown_tier``."""
        listed = await self.list(catalog)
        for plan in listed:
            if plan.tier.casefold() == tier.casefold():
                return plan
        tiers = ", ".join(plan.tier for plan in listed)
        raise GatewayError(Kind.INVALID, "unknown_tier", f"tier must be one of: {tiers}.", "tier")

    async def list(self, catalog: str | None = None) -> Plans:
        """The plans an API lists, or all that are offered, in the order of the configuration."""
        rows = await self.work.session.scalars(select(Plan).where(Plan.status == ACTIVE).order_by(Plan.position))
        return [row for row in rows if catalog is None or not row.catalogs or catalog in row.catalogs]

    async def upgrades(self, name: str | None, catalog: str | None = None) -> Plans:
        """The plans of the catalogue that cost more than this one, the cheapest first."""
        now = await self.find(name)
        price = -1.0 if now is None else _order(now)
        above = [plan for plan in await self.list(catalog) if _order(plan) > price]
        return sorted(above, key=_order)

    async def _all(self) -> Sequence[Plan]:
        return (await self.work.session.scalars(select(Plan).order_by(Plan.number))).all()

    async def _add(self, name: str, number: int, values: dict[str, Any]) -> None:
        now = self.work.now
        row = Plan(number=number, name=name, created_at=now, updated_at=now, **values)
        self.work.session.add(row)
        await self.work.session.flush()
        await self.work.audit("plan.created", "plan", row.id, after={"name": name, **values})
        self.work.changed("plan", name)

    async def _change(self, row: Plan, values: dict[str, Any]) -> bool:
        before = {name: getattr(row, name) for name, value in values.items() if getattr(row, name) != value}
        if not before:
            return False
        after = {name: values[name] for name in before}
        for name, value in after.items():
            setattr(row, name, value)
        row.updated_at = self.work.now
        await self.work.audit("plan.updated", "plan", row.id, before=before, after=after)
        self.work.changed("plan", row.name)
        await self._tell_apps(row.name)
        return True

    async def _tell_apps(self, plan: str) -> None:
        # The data plane knows an app by its tier's plan, and so does not hear of its organisation's.
        theirs = select(App.app_id).join(Organization, Organization.id == App.organization_id)
        apps = (await self.work.session.scalars(theirs.where(Organization.plan == plan).limit(_MOST_TOLD + 1))).all()
        if len(apps) > _MOST_TOLD:
            self.work.changed("everything", plan)
            return
        for app_id in apps:
            self.work.changed("app", app_id)


def _order(plan: Plan) -> float:
    # What has to be agreed upon costs more than any price that is told.
    return float("inf") if plan.price_nanos is None else plan.price_nanos
