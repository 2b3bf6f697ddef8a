"""Budgets: set, listed, removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from sqlalchemy import select

from gateway.contract.policy import LimitPolicy
from gateway.domain.budgets.model import PERIODS, Budget
from gateway.domain.fields import amount, invalid, text
from gateway.domain.limits import scopes
from gateway.domain.turns import take_turn
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind

Budgets: TypeAlias = Sequence[Budget]


class BudgetService:
    """What can be done with budgets, within one work. Who may do what is as with limits, but that an organisation may
    also set a budget for itself: it spends its own money."""

    def __init__(self, work: Work) -> None:
        self.work = work

    async def set(self, scope: str, scope_id: str, amount_nanos: int, period: str, *, name: str = "") -> Budget:
        """Set the budget of a key, user or organisation for each ``period``, in the place of the one it has.

        Raises INVALID, FORBIDDEN, NOT_FOUND.
        """
        work = self.work
        if scope not in scopes.OWNED:
            raise invalid(f"scope must be one of {', '.join(scopes.OWNED)}.", "scope")
        owner = await scopes.owner_of(work, scope, scope_id)
        set_by = scopes.require_write(work.actor, "key", owner)
        if period not in PERIODS:
            raise invalid(f"period must be one of {', '.join(PERIODS)}.", "period")
        nanos = amount(amount_nanos, "amount")
        label = text(name, "name", empty=True)
        await take_turn(work.session, f"budget {scope} {scope_id} {period}")
        query = select(Budget).where(Budget.scope == scope, Budget.scope_id == scope_id, Budget.period == period)
        row = await work.session.scalar(query.with_for_update())
        if row is None:
            row = Budget(scope=scope, scope_id=scope_id, period=period, created_at=work.now)
            action, before = "budget.created", None
        else:
            scopes.require_change(work.actor, row.set_by)
            if (row.amount_nanos, row.name) == (nanos, label):
                return row
            action, before = "budget.updated", _shown(row)
        row.amount_nanos, row.name, row.set_by, row.updated_at = nanos, label, set_by, work.now
        work.session.add(row)
        await work.session.flush()
        await work.audit(action, "budget", row.id, before=before, after=_shown(row), organization=owner)
        scopes.mark(work, scope, scope_id)
        return row

    async def list_for(self, scope: str, scope_id: str) -> Budgets:
        """The budgets of a scope. Raises FORBIDDEN, NOT_FOUND, INVALID."""
        owner = await scopes.owner_of(self.work, scope, scope_id)
        scopes.require_read(self.work.actor, scope, scope_id, owner)
        query = select(Budget).where(Budget.scope == scope, Budget.scope_id == scope_id).order_by(Budget.number)
        return (await self.work.session.scalars(query)).all()

    async def remove(self, id: str) -> Budget:
        """Remove a budget. Raises NOT_FOUND ``budget_not_found``, FORBIDDEN."""
        row = await self.work.session.scalar(select(Budget).where(Budget.id == id).with_for_update())
        if row is None:
            raise GatewayError(Kind.NOT_FOUND, "budget_not_found", "There is no such budget.", "budget_id")
        owner = await scopes.owner_of(self.work, row.scope, row.scope_id)
        scopes.require_write(self.work.actor, "key", owner)
        scopes.require_change(self.work.actor, row.set_by)
        await self.work.session.delete(row)
        await self.work.audit("budget.removed", "budget", row.id, before=_shown(row), organization=owner)
        scopes.mark(self.work, row.scope, row.scope_id)
        return row


def policy_of(row: Budget) -> LimitPolicy:
    """The budget as a limit of the data plane."""
    scope: Any = row.scope
    return LimitPolicy(scope, row.scope_id, "cost", row.amount_nanos, row.period, source="budget", name=row.name)


def _shown(row: Budget) -> dict[str, Any]:
    return {
        "scope": row.scope,
        "scope_id": row.scope_id,
        "period": row.period,
        "amount_nanos": row.amount_nanos,
        "name": row.name,
    }
