"""What LeanVibe asks and answers of tenants. A tenant is an organisation, ``display_name`` its name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.contract.windows import window_bounds
from gateway.dialects.common.models import Answer, Asked, Instant, Parameters
from gateway.domain.organizations.model import Organization
from gateway.domain.organizations.onboarding import Onboarded
from gateway.domain.quotas.service import TYPES, QuotaCheck, Quotas

LARGEST_PAGE = 1_000
_USED = {
    "api_calls": "api_calls_this_month",
    "ai_requests": "ai_requests_today",
    "users": "users_count",
    "projects": "projects_count",
    "storage": "storage_used_mb",
    "concurrent_sessions": "concurrent_sessions",
}


class NewTenant(Asked):
    """A tenant to make. Without a ``slug`` one is made of the name."""

    organization_name: str
    admin_email: str
    plan: str
    slug: str | None = None
    data_residency: str | None = None


class TenantUpdate(Asked):
    """What a tenant changes of itself; what is left out stays."""

    display_name: str = ""
    configuration: dict[str, Any] = Field(default_factory=dict)


class Suspension(Asked):
    """Why a tenant is suspended."""

    reason: str


class TenantFilter(Parameters):
    """Which tenants; a deleted one only by its ``status``."""

    status: Literal["active", "suspended", "deleted"] | None = None
    plan: str | None = None
    limit: Annotated[int, Field(ge=1, le=LARGEST_PAGE)] = 50
    offset: Annotated[int, Field(ge=0)] = 0


class Amount(Parameters):
    """How much more is wanted."""

    amount: Annotated[int, Field(ge=0)] = 1


class TenantAnswer(Answer):
    """A tenant. ``status_reason`` says why it is suspended."""

    id: str
    organization_name: str
    slug: str
    status: str
    status_reason: str | None
    plan: str | None
    data_residency: str | None
    created_at: Instant
    trial_ends_at: Instant | None


class TenantInfo(Answer):
    """A tenant as its own people see it."""

    id: str
    organization_name: str
    slug: str
    status: str
    plan: str | None
    data_residency: str | None
    quotas: dict[str, int]
    current_usage: dict[str, int]
    configuration: dict[str, Any]
    created_at: Instant
    trial_ends_at: Instant | None


class TenantAdmin(Answer):
    """The owner of a new tenant, and what they sign in with at first: shown here alone."""

    id: str
    email: str
    role: str
    initial_password: str


class NewTenantAnswer(TenantAnswer):
    """A new tenant."""

    admin: TenantAdmin


class TenantPage(Answer):
    """A page of tenants; ``total`` is of all that were asked for."""

    tenants: list[TenantAnswer]
    total: int
    limit: int
    offset: int


class Period(Answer):
    """A calendar month in UTC; ``end`` is when the next begins."""

    start: Instant
    end: Instant


class TenantUsage(Answer):
    """What a tenant uses; ``utilization`` in percent of each quota."""

    tenant_id: str
    plan: str | None
    period: Period
    current_usage: dict[str, int]
    quotas: dict[str, int]
    utilization: dict[str, float]
    calculated_at: Instant


class QuotaAnswer(Answer):
    """Whether some more of a quota would fit."""

    quota_type: str
    available: bool
    current_usage: int
    quota_limit: int
    requested_amount: int
    remaining: int


def info(row: Organization, quotas: Quotas) -> TenantInfo:
    """A tenant with its quotas and what is used of them."""
    return TenantInfo(
        **_common(row), quotas=_limits(quotas), current_usage=_used(quotas), configuration=row.configuration
    )


def usage(row: Organization, quotas: Quotas, now: datetime) -> TenantUsage:
    """What a tenant uses at ``now``."""
    start, end = (datetime.fromtimestamp(at, UTC) for at in window_bounds("month", now.timestamp()))
    return TenantUsage(
        tenant_id=row.id,
        plan=row.plan,
        period=Period(start=start, end=end),
        current_usage=_used(quotas),
        quotas=_limits(quotas),
        utilization=quotas.utilization,
        calculated_at=now,
    )


def quota(check: QuotaCheck) -> QuotaAnswer:
    """Whether some more of a quota would fit."""
    return QuotaAnswer(
        quota_type=check.type,
        available=check.available,
        current_usage=check.used,
        quota_limit=check.limit,
        requested_amount=check.requested,
        remaining=check.remaining,
    )


def tenant(row: Organization) -> TenantAnswer:
    """A tenant as the platform sees it."""
    return TenantAnswer(**_common(row), status_reason=row.status_reason)


def created(made: Onboarded, role: str) -> NewTenantAnswer:
    """A new tenant and its owner."""
    owner = made.owner
    admin = TenantAdmin(id=owner.id, email=owner.email, role=role, initial_password=made.initial_password)
    row = made.organization
    return NewTenantAnswer(**_common(row), status_reason=row.status_reason, admin=admin)


def _common(row: Organization) -> dict[str, Any]:
    return {
        "id": row.id,
        "organization_name": row.name,
        "slug": row.slug,
        "status": row.status,
        "plan": row.plan,
        "data_residency": row.data_residency,
        "created_at": row.created_at,
        "trial_ends_at": row.trial_ends_at,
    }


def _limits(quotas: Quotas) -> dict[str, int]:
    return {TYPES[type]: limit for type, limit in quotas.limits.items()}


def _used(quotas: Quotas) -> dict[str, int]:
    return {_USED[type]: used for type, used in quotas.used.items()}
