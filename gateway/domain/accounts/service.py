"""What an account has: what is left of its money, and its plan."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

from gateway.contract.policy import CredentialPolicy
from gateway.domain.credentials.model import ACTIVE
from gateway.domain.credentials.requests import CredentialFilter
from gateway.domain.credentials.service import CredentialService
from gateway.domain.credits.service import Balance, CreditService
from gateway.domain.organizations import repo as organizations
from gateway.domain.plans.model import Plan
from gateway.domain.plans.service import PlanService
from gateway.domain.usage.counters import Counters
from gateway.domain.users import repo as users
from gateway.domain.users.service import UserService
from gateway.domain.work import Work

READ = "api:read"


class AccountBalance(Struct, frozen=True):
    """``remaining`` is nano-dollars. ``key`` is masked, ``user_number`` the user's running number; None without one."""

    remaining: int
    status: str
    key: str | None
    user_number: int | None


class Subscription(Struct, frozen=True):
    """The plan of an organisation; ``until`` is None where it goes on."""

    plan: Plan
    status: Literal["active", "expired"]
    since: datetime
    until: datetime | None


class AccountService:
    """What can be asked of the actor's own account, and done to others', within one work."""

    def __init__(self, work: Work) -> None:
        self.work = work

    async def balance(self, policy: CredentialPolicy, counters: Counters) -> AccountBalance:
        """The money of the caller, whose credential's policy this is. Raises FORBIDDEN."""
        actor, session = self.work.actor, self.work.session
        found = await CreditService(self.work).balance(policy.organization, counters)
        user = None if actor.user is None else await users.by_id(session, actor.user)
        number = None if user is None else user.number
        return AccountBalance(found.remaining, policy.status, await self._key(), number)

    async def plan(self) -> Subscription | None:
        """The plan of the caller's organisation; None where it is on none. Raises FORBIDDEN."""
        actor, session = self.work.actor, self.work.session
        actor.require(READ, actor.organization)
        row = None if actor.organization is None else await organizations.by_id(session, actor.organization)
        plan = None if row is None else await PlanService(self.work).find(row.plan)
        if row is None or plan is None:
            return None
        over = row.plan_until is not None and row.plan_until <= self.work.now
        return Subscription(plan, "expired" if over else "active", row.plan_since or row.created_at, row.plan_until)

    async def add_credits(
        self, user: str | int, nanos: int, reason: str, counters: Counters, *, idempotency_key: str | None = None
    ) -> Balance:
        """Give nano-dollars to the account of a user; for the platform alone. Gives what it has then.

        Raises what :meth:`CreditService.add` does, and NOT_FOUND ``user_not_found``.
        """
        self.work.actor.require_platform()
        organization = (await UserService(self.work).get(user)).organization_id
        service = CreditService(self.work)
        await service.add(organization, nanos, "grant", reason, idempotency_key=idempotency_key)
        return await service.balance(organization, counters)

    async def _key(self) -> str | None:
        actor = self.work.actor
        service = CredentialService(self.work)
        if actor.kind == "credential":
            return (await service.get(actor.id)).masked
        if actor.user is None:
            return None
        chosen = CredentialFilter(user=actor.user, kind="api_key", statuses=(ACTIVE,))
        found = (await service.list(chosen, limit=1, newest_first=True)).items
        return found[0].masked if found else None
