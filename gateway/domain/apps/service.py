"""Apps: registered with a tier, suspended, given another secret."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from msgspec import Struct
from sqlalchemy import ColumnElement, func, or_, select

from gateway.domain.apps.model import ACTIVE, SUSPENDED, App
from gateway.domain.credentials import issue, repo, rights
from gateway.domain.credentials.model import APP, Credential
from gateway.domain.credentials.rights import APPS_READ, APPS_WRITE
from gateway.domain.credentials.secret import APP_PREFIX
from gateway.domain.credentials.service import CredentialService
from gateway.domain.fields import page, text
from gateway.domain.plans.service import PlanService
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind

CATALOG = "ai_marketplace"
SCOPES = ("analytics:read", "api:read", "api:write", "billing:read", "inference", "usage:read")
"""What an app's credential may do; of these, what the one who registers it may do."""
_LONGEST_DESCRIPTION = 2_000


class Registered(Struct, frozen=True):
    """A new app, its credential, and the whole of what it sends: ``app_<uuid>:sk_…``, kept nowhere."""

    app: App
    credential: Credential
    bearer: str

    @property
    def secret_key(self) -> str:
        """The secret half, ``sk_…``."""
        return self.bearer.partition(":")[2]


class AppPage(Struct, frozen=True):
    """A page of apps, and how many there are in all."""

    items: tuple[App, ...]
    total: int


Secret: TypeAlias = str


class AppService:
    """What can be done with apps, within one work.

    A reference is an app's public ``app_<uuid>`` or its id. Raises NOT_FOUND ``app_not_found`` for what the actor may
    not see, FORBIDDEN ``insufficient_permissions`` for what they may not do, INVALID for bad input.
    """

    def __init__(self, work: Work) -> None:
        self.work = work

    async def register(
        self, name: str, *, description: str = "", tier: str = "COMMUNITY", organization: str | None = None
    ) -> Registered:
        """Register an app on the plan that is listed to apps under ``tier``. The organisation's own limits hold too."""
        work = self.work
        owner = await issue.organization_of(work, organization)
        work.actor.require(APPS_WRITE, owner)
        plan = await PlanService(work).of_tier(CATALOG, tier)
        app = App(
            name=text(name, "name"),
            description=text(description, "description", longest=_LONGEST_DESCRIPTION, empty=True),
            plan=plan.name,
            organization_id=owner,
            user_id=work.actor.user,
            created_at=work.now,
            updated_at=work.now,
        )
        work.session.add(app)
        await work.session.flush()
        after = {"name": app.name, "plan": app.plan, "app_id": app.app_id}
        await work.audit("app.created", "app", app.app_id, after=after, organization=owner)
        credential = Credential(
            kind=APP,
            prefix=APP_PREFIX,
            name=app.name,
            organization_id=owner,
            user_id=None,
            app_id=app.app_id,
            scopes=sorted(scope for scope in SCOPES if work.actor.may(scope, owner)),
            models=[],
            cidrs=[],
            environment="live",
        )
        await rights.require_within(work, {"models": (), "cidrs": (), "environment": "live", "expires_at": None})
        bearer = await issue.insert(work, credential)
        return Registered(app, credential, bearer)

    async def get(self, reference: str) -> App:
        """One app: for its organisation with ``apps:read``, for itself, for the platform."""
        row = await self._found(reference)
        if not (self.work.actor.may(APPS_READ, row.organization_id) or await self._is_itself(row)):
            raise _not_found()
        return row

    async def list(self, *, organization: str | None = None, limit: int = 50, offset: int = 0) -> AppPage:
        """Apps in the order they were registered: an organisation's, or all for the platform."""
        actor = self.work.actor
        owner = organization if actor.is_platform_admin else organization or actor.organization
        actor.require(APPS_READ, owner)
        limit, offset = page(limit, offset)
        within = [] if owner is None else [App.organization_id == owner]
        return await self._page(within, limit, offset)

    async def set_tier(self, reference: str, tier: str) -> App:
        """Put an app on another tier; its credential has that tier's limits at once."""
        row = await self.get(reference)
        self.work.actor.require(APPS_WRITE, row.organization_id)
        plan = await PlanService(self.work).of_tier(CATALOG, tier)
        if row.plan != plan.name:
            before, row.plan = row.plan, plan.name
            await self._conclude("app.tier_changed", row, {"plan": before}, {"plan": row.plan})
        return row

    async def suspend(self, reference: str, reason: str) -> App:
        """Refuse the app's credential until it is reactivated. Only for the platform."""
        return await self._set_status(reference, SUSPENDED, text(reason, "reason"))

    async def reactivate(self, reference: str) -> App:
        """Let a suspended app work again. Only for the platform."""
        return await self._set_status(reference, ACTIVE, None)

    async def rotate(self, reference: str, *, grace_seconds: int = 0) -> tuple[App, Secret]:
        """Give an app another secret; gives the whole of what it now sends, ``app_<uuid>:sk_…``."""
        row = await self.get(reference)
        credential = await repo.of_app(self.work.session, row.app_id)
        if credential is None:
            raise _not_found()
        _, bearer = await CredentialService(self.work).rotate(credential.id, grace_seconds=grace_seconds)
        return row, bearer

    async def _page(self, within: Sequence[ColumnElement[bool]], limit: int, offset: int) -> AppPage:
        session = self.work.session
        query = select(App).where(*within).order_by(App.number).limit(limit).offset(offset)
        total = await session.scalar(select(func.count()).select_from(App).where(*within))
        return AppPage(tuple((await session.scalars(query)).all()), total or 0)

    async def _set_status(self, reference: str, status: str, reason: str | None) -> App:
        self.work.actor.require_platform()
        row = await self._found(reference)
        if row.status != status:
            before = {"status": row.status, "reason": row.status_reason}
            row.status, row.status_reason = status, reason
            verb = "suspended" if status == SUSPENDED else "reactivated"
            await self._conclude(f"app.{verb}", row, before, {"status": status, "reason": reason})
        return row

    async def _found(self, reference: str) -> App:
        query = select(App).where(or_(App.app_id == reference, App.id == reference))
        row = await self.work.session.scalar(query)
        if row is None:
            raise _not_found()
        return row

    async def _is_itself(self, row: App) -> bool:
        actor = self.work.actor
        if actor.kind != "credential" or actor.organization != row.organization_id:
            return False
        credential = await repo.by_reference(self.work.session, actor.id)
        return credential is not None and credential.app_id == row.app_id

    async def _conclude(self, action: str, row: App, before: dict[str, Any], after: dict[str, Any]) -> None:
        row.updated_at = self.work.now
        organization = row.organization_id
        await self.work.audit(action, "app", row.app_id, before=before, after=after, organization=organization)
        self.work.changed("app", row.app_id)
        credential = await repo.of_app(self.work.session, row.app_id)
        if credential is not None:
            await issue.mark(self.work, credential)


def _not_found() -> GatewayError:
    return GatewayError(Kind.NOT_FOUND, "app_not_found", "There is no such app.", "appId")
