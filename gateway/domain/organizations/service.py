"""Organisations: made, changed, suspended, put on a plan."""

from __future__ import annotations

import re
import secrets
import unicodedata
from datetime import datetime
from typing import Any

from msgspec import structs
from sqlalchemy.exc import IntegrityError

from gateway.domain.audit.chain import canonical
from gateway.domain.fields import future, invalid, page, text
from gateway.domain.organizations import repo
from gateway.domain.organizations.model import ACTIVE, DELETED, STATUSES, SUSPENDED, Organization
from gateway.domain.organizations.requests import (
    NewOrganization,
    OrganizationFilter,
    OrganizationPage,
    OrganizationUpdate,
)
from gateway.domain.plans.service import PlanService
from gateway.domain.rows import change
from gateway.domain.turns import take_turn
from gateway.domain.work import Severity, Work
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.ids import new_id

ADMINISTER, READ, WRITE = "organizations:admin", "organizations:read", "organizations:write"
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*\Z")
_LONGEST_SLUG = 63
_LARGEST_CONFIGURATION = 65_536  # bytes of JSON
_ANY = OrganizationFilter()


class OrganizationService:
    """What can be done with organisations, within one work."""

    def __init__(self, work: Work) -> None:
        self.work = work

    async def create(self, new: NewOrganization) -> Organization:
        """Make one; for the platform alone. Raises CONFLICT ``slug_taken``, NOT_FOUND ``plan_not_found``, INVALID."""
        self.work.actor.require(ADMINISTER)
        return await self.make(new)

    async def make(self, new: NewOrganization) -> Organization:
        """As :meth:`create`, without asking whether the actor may: for what makes one on the way, such as a user's."""
        work = self.work
        name = text(new.name, "name")
        id = new.id or new_id("org")
        slug = new.slug if new.slug is not None else await self._slug_of(new.id, name)
        if new.id is None and (len(slug) > _LONGEST_SLUG or not _SLUG.match(slug)):
            raise invalid("slug must have at most 63 small letters, digits and single hyphens between them.", "slug")
        plan = None if new.plan is None else (await PlanService(work).get(new.plan)).name
        parent = None if new.parent is None else (await self.get(new.parent)).id
        row = Organization(
            id=id,
            slug=slug,
            name=name,
            plan=plan,
            plan_since=None if plan is None else work.now,
            data_residency=_optional(new.data_residency, "data_residency"),
            configuration=_configuration(new.configuration),
            trial_ends_at=future(new.trial_ends_at, work.now, "trial_ends_at"),
            parent_id=parent,
            created_at=work.now,
            updated_at=work.now,
        )
        work.session.add(row)
        try:
            await work.session.flush()
        except IntegrityError:
            raise _slug_taken(slug) from None
        after = {"slug": slug, "name": name, "plan": plan, "data_residency": row.data_residency, "parent_id": parent}
        await work.audit("organization.created", "organization", id, after=after, organization=id)
        work.changed("organization", id)
        return row

    async def ensure(self, name: str) -> Organization:
        """The organisation that ``gateway.yaml`` names: the name is its id, and its slug too unless a tenant has that.
        Made where there is none."""
        self.work.actor.require(ADMINISTER)
        found = await repo.by_id(self.work.session, name)
        return found or await self.make(NewOrganization(name=name, id=name))

    async def get(self, reference: str | int, *, lock: bool = False) -> Organization:
        """An organisation by its id, slug or number. Raises NOT_FOUND ``organization_not_found``, also for one that is
        not the actor's business."""
        row = await repo.by_reference(self.work.session, reference, lock=lock)
        actor = self.work.actor
        if row is None or not (row.id == actor.organization or actor.may(READ, row.id)):
            raise not_found()
        return row

    async def own(self) -> Organization:
        """The actor's organisation. Raises NOT_FOUND ``organization_not_found`` for one who belongs to none."""
        if self.work.actor.organization is None:
            raise not_found()
        return await self.get(self.work.actor.organization)

    async def list(self, chosen: OrganizationFilter = _ANY, *, limit: int = 50, offset: int = 0) -> OrganizationPage:
        """A page of organisations: all of them for the platform, one's own for anyone else."""
        limit, offset = page(limit, offset)
        if chosen.status is not None and chosen.status not in STATUSES:
            raise invalid(f"status must be one of: {', '.join(STATUSES)}.", "status")
        if not self.work.actor.may(ADMINISTER):
            chosen = structs.replace(chosen, id=self.work.actor.organization or "")
        rows, total = await repo.page(self.work.session, chosen, limit, offset)
        return OrganizationPage(tuple(rows), total)

    async def update(self, reference: str | int, update: OrganizationUpdate) -> Organization:
        """Change what its administrators may change. Raises FORBIDDEN, NOT_FOUND, INVALID."""
        row = await self.get(reference, lock=True)
        self.work.actor.require(WRITE, row.id)
        values: dict[str, Any] = structs.asdict(update)
        if isinstance(update.name, str):
            values["name"] = text(update.name, "name")
        if isinstance(update.configuration, dict):
            values["configuration"] = _configuration(update.configuration)
        if isinstance(update.data_residency, str):
            values["data_residency"] = text(update.data_residency, "data_residency")
        if isinstance(update.trial_ends_at, datetime) or update.trial_ends_at is None:
            self.work.actor.require(ADMINISTER)
        await self._change(row, "organization.updated", values)
        return row

    async def suspend(self, reference: str | int, reason: str) -> Organization:
        """Refuse its credentials from now on. Raises FORBIDDEN for anyone but the platform."""
        return await self._set_status(reference, SUSPENDED, text(reason, "reason", longest=500))

    async def reactivate(self, reference: str | int) -> Organization:
        """Take its credentials again. Raises FORBIDDEN for anyone but the platform."""
        return await self._set_status(reference, ACTIVE, None)

    async def delete(self, reference: str | int) -> Organization:
        """Refuse its credentials for good; its records stay. Raises FORBIDDEN for anyone but the platform."""
        return await self._set_status(reference, DELETED, None)

    async def set_plan(self, reference: str | int, plan: str | None, until: datetime | None = None) -> Organization:
        """Put it on a plan, or on none. Raises FORBIDDEN, NOT_FOUND ``plan_not_found``."""
        self.work.actor.require(ADMINISTER)
        row = await self.get(reference, lock=True)
        name = None if plan is None else (await PlanService(self.work).get(plan)).name
        values = {"plan": name, "plan_until": future(until, self.work.now, "until")}
        if name != row.plan:
            values["plan_since"] = self.work.now
        await self._change(row, "organization.plan_changed", values)
        return row

    async def _set_status(self, reference: str | int, status: str, reason: str | None) -> Organization:
        self.work.actor.require(ADMINISTER)
        row = await self.get(reference, lock=True)
        action = {ACTIVE: "reactivated", SUSPENDED: "suspended", DELETED: "deleted"}[status]
        await self._change(row, f"organization.{action}", {"status": status, "status_reason": reason})
        return row

    async def _change(self, row: Organization, action: str, values: dict[str, Any]) -> None:
        before, after = change(row, values)
        if not after:
            return
        row.updated_at = self.work.now
        severity: Severity = "warning" if "status" in after else "info"
        await self.work.audit(
            action, "organization", row.id, before=before, after=after, organization=row.id, severity=severity
        )
        self.work.changed("organization", row.id)

    async def _slug_of(self, id: str | None, name: str) -> str:
        # A tenant may have as its slug what the configuration comes to name an organisation.
        if id is None or await repo.slug_taken(self.work.session, id):
            return await self._free_slug(name)
        return id

    async def _free_slug(self, name: str) -> str:
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        slug = re.sub(r"[^a-z0-9]+", "-", plain)[: _LONGEST_SLUG - 7].strip("-") or "organization"
        # Of two of one name at once the second sees that the slug is taken.
        await take_turn(self.work.session, f"slug {slug}")
        if await repo.slug_taken(self.work.session, slug):
            return f"{slug}-{secrets.token_hex(3)}"
        return slug


def _optional(value: str | None, field: str) -> str | None:
    return None if value is None else text(value, field)


def _configuration(value: dict[str, Any]) -> dict[str, Any]:
    try:
        size = len(canonical(value))
    except (TypeError, ValueError):
        raise invalid("configuration must be a JSON object.", "configuration") from None
    if size > _LARGEST_CONFIGURATION:
        raise invalid(f"configuration must have at most {_LARGEST_CONFIGURATION} bytes.", "configuration")
    return value


def not_found() -> GatewayError:
    """The error for an organisation that does not exist, and for one that is not the actor's business."""
    return GatewayError(Kind.NOT_FOUND, "organization_not_found", "There is no such organization.", "organization_id")


def _slug_taken(slug: str) -> GatewayError:
    return GatewayError(Kind.CONFLICT, "slug_taken", f"The slug {slug!r} is taken.", "slug")
