"""``/v1/tenants``: made, listed, suspended and reactivated by the platform's administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from gateway.dialects.common.authentication import Caller
from gateway.dialects.common.fields import naming
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import Reading, WorksOf, Writing
from gateway.dialects.leanvibe import wire
from gateway.domain.organizations.onboarding import onboard
from gateway.domain.organizations.requests import NewOrganization, OrganizationFilter
from gateway.domain.organizations.service import ADMINISTER, OrganizationService
from gateway.domain.users.service import OWNER

router = make_router()


@router.post("/v1/tenants", status_code=201)
async def create(asked: wire.NewTenant, works: WorksOf, actor: Caller) -> wire.NewTenantAnswer:
    """Make a tenant and its owner, whose first password is in the answer and nowhere else."""
    new = NewOrganization(
        name=asked.organization_name, slug=asked.slug, plan=asked.plan, data_residency=asked.data_residency
    )
    with naming(name="organization_name", email="admin_email"):
        made = await onboard(works, actor, new, asked.admin_email)
    return wire.created(made, OWNER)


@router.get("/v1/tenants")
async def listed(asked: Annotated[wire.TenantFilter, Query()], work: Reading) -> wire.TenantPage:
    """A page of all tenants, in the order they were made."""
    work.actor.require(ADMINISTER)
    chosen = OrganizationFilter(status=asked.status, plan=asked.plan)
    page = await OrganizationService(work).list(chosen, limit=asked.limit, offset=asked.offset)
    tenants = [wire.tenant(row) for row in page.items]
    return wire.TenantPage(tenants=tenants, total=page.total, limit=asked.limit, offset=asked.offset)


@router.post("/v1/tenants/{tenant_id}/suspend")
async def suspend(tenant_id: str, asked: wire.Suspension, work: Writing) -> wire.TenantAnswer:
    """Refuse everything of a tenant from now on, with 451 where the reference says so."""
    return wire.tenant(await OrganizationService(work).suspend(tenant_id, asked.reason))


@router.post("/v1/tenants/{tenant_id}/reactivate")
async def reactivate(tenant_id: str, work: Writing) -> wire.TenantAnswer:
    """Let a suspended tenant work again."""
    return wire.tenant(await OrganizationService(work).reactivate(tenant_id))
