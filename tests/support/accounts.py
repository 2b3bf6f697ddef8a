"""Organisations, users and actors to test entitlement with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from gateway.domain.actor import Actor
from gateway.domain.audit.model import AuditRecord
from gateway.domain.changes.model import PolicyChange
from gateway.domain.organizations.requests import NewOrganization
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.roles.catalog import catalog
from gateway.domain.users.model import User
from gateway.domain.users.requests import NewUser
from gateway.domain.users.service import UserService
from gateway.domain.work import Works
from gateway.store.engine import Store

MASTER = Actor(kind="master", id="master", permissions=frozenset({"*"}))
START = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)


class Clock:
    """A time that stands until it is moved."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Accounts:
    """Works over one store, with a clock that stands, and what tests look at afterwards."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = Clock()
        self.commits = 0
        self.works = Works(store, master_key="test-master-key", on_commit=self._committed, clock=self.clock)
        self.begin = self.works.begin
        self.read = self.works.read

    def _committed(self) -> None:
        self.commits += 1

    async def organization(self, slug: str, plan: str | None = None) -> str:
        """Make an organisation; gives its id, which is its slug."""
        async with self.begin(MASTER) as work:
            row = await OrganizationService(work).create(NewOrganization(name=slug, id=slug, plan=plan))
            return row.id

    async def user(self, email: str, organization: str, role: str = "user") -> User:
        """Make a user of an organisation."""
        async with self.begin(MASTER) as work:
            return await UserService(work).create(NewUser(email=email, organization=organization, role=role))

    async def actions(self) -> list[str]:
        """What the audit log says was done, in order."""
        async with self.read(MASTER) as work:
            return list(await work.session.scalars(select(AuditRecord.action).order_by(AuditRecord.seq)))

    async def records(self, action: str) -> list[AuditRecord]:
        """The audit records of one action, in order."""
        async with self.read(MASTER) as work:
            query = select(AuditRecord).where(AuditRecord.action == action).order_by(AuditRecord.seq)
            return list(await work.session.scalars(query))

    async def last_seq(self) -> int:
        """The number of the last change the data plane was told of."""
        async with self.read(MASTER) as work:
            return await work.session.scalar(select(PolicyChange.seq).order_by(PolicyChange.seq.desc()).limit(1)) or 0

    async def changes(self, after: int = 0) -> list[tuple[str, str, str | None]]:
        """What the data plane was told of since: kind, id, digest in hex."""
        async with self.read(MASTER) as work:
            query = select(PolicyChange).where(PolicyChange.seq > after).order_by(PolicyChange.seq)
            return [(row.kind, row.id, row.digest) for row in await work.session.scalars(query)]


def signed_in(user: User, role: str = "user", organization: str | None = None) -> Actor:
    """A user who signed in."""
    of = organization or user.organization_id
    return Actor(kind="user", id=user.id, user=user.id, organization=of, role=role, permissions=catalog().of(role))


def with_key(id: str, organization: str, scopes: tuple[str, ...], user: str | None = None) -> Actor:
    """Who calls with a key."""
    permissions = catalog().expand(scopes)
    return Actor(kind="credential", id=id, user=user, organization=organization, permissions=permissions)
