"""Quotas: what an organisation's plan allows in all, what is used of it, and whether some more would fit."""

from __future__ import annotations

from datetime import timedelta

from msgspec import Struct
from sqlalchemy import func, select

from gateway.contract.policy import LimitPolicy, Metric, Source
from gateway.domain.fields import amount, invalid
from gateway.domain.ledger.query import Filter
from gateway.domain.organizations.model import Organization
from gateway.domain.plans.conversion import quotas_of
from gateway.domain.plans.service import PlanService
from gateway.domain.tokens.model import RefreshFamily
from gateway.domain.usage.calls import calls, since
from gateway.domain.usage.counters import Counters
from gateway.domain.users.model import Membership
from gateway.domain.work import Work

TYPES = {
    "api_calls": "max_api_calls_per_month",
    "ai_requests": "max_ai_requests_per_day",
    "users": "max_users",
    "projects": "max_projects",
    "storage": "max_storage_mb",
    "concurrent_sessions": "max_concurrent_sessions",
}
"""What can be asked about, and the quota of a plan that bounds it. Storage is in mebibytes."""
_SOURCES: tuple[Source, ...] = ("plan", "limit")


class Quotas(Struct, frozen=True):
    """An organisation's quotas, and what is used of each, both by the names in :data:`TYPES`."""

    limits: dict[str, int]
    used: dict[str, int]

    @property
    def utilization(self) -> dict[str, float]:
        """What is used of each quota in percent; nothing of one that allows nothing."""
        return {type: round(100 * self.used[type] / limit, 2) if limit else 0.0 for type, limit in self.limits.items()}


class QuotaCheck(Struct, frozen=True):
    """Whether ``requested`` more would fit."""

    type: str
    used: int
    limit: int
    requested: int

    @property
    def remaining(self) -> int:
        """What is left; never below 0."""
        return max(0, self.limit - self.used)

    @property
    def available(self) -> bool:
        """Whether what is left is enough."""
        return self.requested <= self.remaining


class QuotaService:
    """What is known of quotas, within one work. ``session_seconds`` is how long a sign-in counts after its last token.

    Requests are counted by the data plane from when a limit on them holds, and by the ledger, seconds after they end:
    the larger is told. Nothing stores projects and files, so there are none.
    """

    def __init__(self, work: Work, counters: Counters, *, session_seconds: float) -> None:
        self.work = work
        self.counters = counters
        self._session = timedelta(seconds=session_seconds)

    async def of(self, organization: Organization) -> Quotas:
        """The quotas of an organisation's plan and what is used of them; without a plan, those for "no limit"."""
        quotas = quotas_of(await PlanService(self.work).find(organization.plan))
        used = {
            "api_calls": await self._counted(organization.id, "requests", "month"),
            "ai_requests": await self._counted(organization.id, "ai_requests", "day"),
            "users": await self._members(organization.id),
            "projects": 0,
            "storage": 0,
            "concurrent_sessions": await self._sessions(organization.id),
        }
        return Quotas({type: quotas[name] for type, name in TYPES.items()}, used)

    async def check(self, organization: Organization, type: str, requested: int) -> QuotaCheck:
        """Whether ``requested`` more of a quota would fit. Raises INVALID ``unknown_quota_type``."""
        if type not in TYPES:
            raise invalid(f"quota_type must be one of: {', '.join(TYPES)}.", "quota_type", "unknown_quota_type")
        quotas = await self.of(organization)
        return QuotaCheck(type, quotas.used[type], quotas.limits[type], amount(requested, "amount"))

    async def _counted(self, organization: str, metric: Metric, window: str) -> int:
        # A plan's limit and one set for the organisation each have a count, begun when the limit was.
        keys = [
            LimitPolicy("organization", organization, metric, 0, window=window, source=source).key
            for source in _SOURCES
        ]
        counted = await self.counters.used(keys, self.work.now.timestamp())
        within = Filter(organization=organization, from_ns=since(window, self.work.now))
        return max(*counted.values(), await calls(self.work.session, within))

    async def _members(self, organization: str) -> int:
        query = select(func.count()).select_from(Membership).where(Membership.organization_id == organization)
        return await self.work.session.scalar(query) or 0

    async def _sessions(self, organization: str) -> int:
        live = (
            RefreshFamily.organization_id == organization,
            RefreshFamily.revoked_at.is_(None),
            RefreshFamily.updated_at > self.work.now - self._session,
        )
        return await self.work.session.scalar(select(func.count()).select_from(RefreshFamily).where(*live)) or 0
