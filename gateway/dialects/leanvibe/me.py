"""``/v1/tenants/me``: the caller's own tenant, its usage and quotas."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from gateway.dialects.common.context import Context, ContextOf
from gateway.dialects.common.fields import given, naming
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import Reading, Writing
from gateway.dialects.leanvibe import wire
from gateway.domain.organizations.requests import OrganizationUpdate
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.quotas.service import QuotaService
from gateway.domain.work import Work

router = make_router()


def _quotas(work: Work, context: Context) -> QuotaService:
    return QuotaService(work, context.counters, session_seconds=context.settings.jwt.access_ttl)


@router.get("/v1/tenants/me/info")
async def info(work: Reading, context: ContextOf) -> wire.TenantInfo:
    """The caller's tenant."""
    row = await OrganizationService(work).own()
    return wire.info(row, await _quotas(work, context).of(row))


@router.put("/v1/tenants/me/info")
async def update(asked: wire.TenantUpdate, work: Writing, context: ContextOf) -> wire.TenantInfo:
    """Change the tenant's name and configuration, the latter as a whole; needs ``organizations:write``."""
    organizations = OrganizationService(work)
    changes = OrganizationUpdate(**given(asked, "configuration", name="display_name"))
    with naming(name="display_name"):
        row = await organizations.update((await organizations.own()).id, changes)
    return wire.info(row, await _quotas(work, context).of(row))


@router.get("/v1/tenants/me/usage")
async def usage(work: Reading, context: ContextOf) -> wire.TenantUsage:
    """What the caller's tenant uses of its quotas."""
    row = await OrganizationService(work).own()
    return wire.usage(row, await _quotas(work, context).of(row), work.now)


@router.get("/v1/tenants/me/quota-check/{quota_type}")
async def check(
    quota_type: str, asked: Annotated[wire.Amount, Query()], work: Reading, context: ContextOf
) -> wire.QuotaAnswer:
    """Whether some more of a quota would fit; nothing is taken by asking."""
    row = await OrganizationService(work).own()
    return wire.quota(await _quotas(work, context).check(row, quota_type, asked.amount))
