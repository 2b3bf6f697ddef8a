"""Users: made, found, changed, and given roles."""

from __future__ import annotations

import re
from typing import Any

from msgspec import structs
from sqlalchemy.exc import IntegrityError

from gateway.domain.actor import PLATFORM_ADMIN
from gateway.domain.fields import invalid, page, text
from gateway.domain.organizations.requests import NewOrganization
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.roles.catalog import catalog
from gateway.domain.rows import change
from gateway.domain.tokens import repo as tokens
from gateway.domain.users import passwords, repo
from gateway.domain.users.model import ACTIVE, STATUSES, Membership, User
from gateway.domain.users.requests import (
    Assignment,
    AssignmentPage,
    NewUser,
    RoleChange,
    UserFilter,
    UserUpdate,
)
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.ids import new_id

READ, WRITE = "users:read", "users:write"
OWNER, DEFAULT_ROLE = "owner", "user"
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\Z")
_LONGEST_EMAIL = 254  # RFC 5321, section 4.5.3.1.3, without the brackets
_ANY = UserFilter()


class UserService:
    """What can be done with users, within one work."""

    def __init__(self, work: Work) -> None:
        self.work = work

    async def create(self, new: NewUser) -> User:
        """Make a user; for the platform, or for one's own organisation with ``users:write``.

        Raises FORBIDDEN, CONFLICT ``email_taken``, INVALID ``unknown_role``, NOT_FOUND ``organization_not_found``.
        """
        actor = self.work.actor
        if new.organization is None:
            actor.require_platform()
            return await self.make(new, None, new.role or OWNER)
        organization = (await OrganizationService(self.work).get(new.organization)).id
        actor.require(WRITE, organization)
        self._require_role(new.role or DEFAULT_ROLE, organization)
        return await self.make(new, organization, new.role or DEFAULT_ROLE)

    async def make(self, new: NewUser, organization: str | None, role: str) -> User:
        """As :meth:`create`, without asking whether the actor may. ``organization`` is an id; None makes one."""
        work = self.work
        email = _email(new.email)
        username = text(new.username or email, "username", longest=_LONGEST_EMAIL)
        held = catalog().get(role)
        password_hash = new.password_hash
        if password_hash is None and new.password is not None:
            password_hash = await passwords.hashed(new.password)
        if organization is None:
            organization = (await OrganizationService(work).make(NewOrganization(name=username))).id
        now = work.now
        row = User(
            id=new_id("user"),
            email=email,
            username=username,
            password_hash=password_hash,
            auth_method=text(new.auth_method, "auth_method"),
            subject=new.subject,
            status=ACTIVE,
            organization_id=organization,
            is_platform_admin=held.platform,
            created_at=now,
            updated_at=now,
        )
        work.session.add(row)
        try:
            await work.session.flush()
        except IntegrityError:
            raise GatewayError(Kind.CONFLICT, "email_taken", "There is a user with that email.", "email") from None
        member = OWNER if held.platform else role
        work.session.add(Membership(user_id=row.id, organization_id=organization, role=member, assigned_at=now))
        after = {"email": email, "username": username, "role": role, "auth_method": row.auth_method}
        await work.audit("user.created", "user", row.id, after=after, organization=organization)
        work.changed("user", row.id)
        return row

    async def get(self, reference: str | int, *, lock: bool = False) -> User:
        """A user by id, number, ``user_<number>`` or email. Raises NOT_FOUND ``user_not_found``, also for one who is
        not the actor's business."""
        row = await repo.by_reference(self.work.session, reference, lock=lock)
        if row is None or not await self._may_see(row):
            raise not_found()
        return row

    async def role_of(self, reference: str | int, organization: str | None = None) -> Assignment:
        """What a user is in an organisation, by default their own. Raises NOT_FOUND ``user_not_found``."""
        user = await self.get(reference)
        member = await repo.membership(self.work.session, user.id, organization or user.organization_id)
        return _assignment(user, member)

    async def list(self, chosen: UserFilter = _ANY, *, limit: int = 50, offset: int = 0) -> AssignmentPage:
        """A page of users with their roles: of everyone for the platform, of the own organisation for anyone else."""
        actor = self.work.actor
        limit, offset = page(limit, offset)
        if chosen.role is not None:
            catalog().get(chosen.role)
        if chosen.status is not None and chosen.status not in STATUSES:
            raise invalid(f"status must be one of: {', '.join(STATUSES)}.", "status")
        if chosen.organization is not None:
            of = (await OrganizationService(self.work).get(chosen.organization)).id
            chosen = structs.replace(chosen, organization=of)
        elif not actor.is_platform_admin:
            chosen = structs.replace(chosen, organization=actor.organization or "")
        if not actor.is_platform_admin:
            actor.require(READ, chosen.organization)
        rows, total = await repo.page(self.work.session, chosen, limit, offset)
        return AssignmentPage(tuple(_assignment(user, member) for user, member in rows), total)

    async def update(self, reference: str | int, update: UserUpdate) -> User:
        """Change oneself, or others with ``users:write``; the status of oneself never. Signs the user out everywhere
        where the password or the status changes. Raises FORBIDDEN, NOT_FOUND, INVALID."""
        row = await self.get(reference, lock=True)
        actor = self.work.actor
        if actor.user != row.id or isinstance(update.status, str):
            await self._require_over(row)
        values: dict[str, Any] = {"username": update.username, "status": update.status}
        if isinstance(update.username, str):
            values["username"] = text(update.username, "username", longest=_LONGEST_EMAIL)
        if isinstance(update.status, str) and update.status not in STATUSES:
            raise invalid(f"status must be one of: {', '.join(STATUSES)}.", "status")
        before, after = change(row, values)
        if isinstance(update.password, str):
            row.password_hash = await passwords.hashed(update.password)
            after["password"] = "changed"  # noqa: S105 - that it was, not what to
        if not after:
            return row
        if "password" in after or "status" in after:
            await tokens.revoke_all(self.work.session, row.id, self.work.now)
        row.updated_at = self.work.now
        await self.work.audit(
            "user.updated", "user", row.id, before=before, after=after, organization=row.organization_id
        )
        self.work.changed("user", row.id)
        return row

    async def set_role(
        self, reference: str | int, role: str, *, organization: str | None = None, reason: str | None = None
    ) -> RoleChange:
        """Give a user a role in an organisation (an id), by default their own. Nobody gives more than they hold, nor
        takes from one who holds more. ``platform_admin`` is of the whole platform.

        Raises FORBIDDEN ``insufficient_permissions``, NOT_FOUND, INVALID ``unknown_role``.
        """
        work = self.work
        user = await self.get(reference, lock=True)
        of = organization or user.organization_id
        work.actor.require(WRITE, of)
        member = await repo.membership(work.session, user.id, of)
        old = _assignment(user, member).role if member is not None or user.is_platform_admin else None
        self._require_role(role, of)
        if old in catalog().roles:
            self._require_role(old, of)
        held = catalog().get(role)
        user.is_platform_admin = held.platform
        member_role = OWNER if held.platform else role
        if member is None:
            work.session.add(Membership(user_id=user.id, organization_id=of, role=member_role, assigned_at=work.now))
        else:
            member.role, member.assigned_at = member_role, work.now
        user.updated_at = work.now
        await work.audit(
            "user.role_changed", "user", user.id,
            before={"role": old}, after={"role": role}, organization=of, severity="warning",
            metadata=None if reason is None else {"reason": text(reason, "reason", longest=500)},
        )  # fmt: skip
        work.changed("user", user.id)
        return RoleChange(user, old, role, work.now)

    def _require_role(self, name: str, organization: str) -> None:
        role = catalog().get(name)
        if role.platform:
            self.work.actor.require_platform()
        for permission in sorted(catalog().of(name)):
            self.work.actor.require(permission, organization)

    async def _require_over(self, user: User) -> None:
        actor = self.work.actor
        actor.require(WRITE, user.organization_id)
        member = await repo.membership(self.work.session, user.id, user.organization_id)
        self._require_role(_assignment(user, member).role, user.organization_id)

    async def _may_see(self, user: User) -> bool:
        actor = self.work.actor
        if actor.user == user.id or actor.may(READ, user.organization_id):
            return True
        if actor.organization is None or not actor.may(READ):
            return False
        return await repo.membership(self.work.session, user.id, actor.organization) is not None


def _assignment(user: User, member: Membership | None) -> Assignment:
    role = DEFAULT_ROLE if member is None else member.role
    at = user.created_at if member is None else member.assigned_at
    return Assignment(user, PLATFORM_ADMIN if user.is_platform_admin else role, at)


def _email(value: str) -> str:
    email = repo.fold(text(value, "email", longest=_LONGEST_EMAIL))
    if not _EMAIL.match(email):
        raise invalid("email must be an email address.", "email")
    return email


def not_found() -> GatewayError:
    """The error for a user who does not exist, and for one who is not the actor's business."""
    return GatewayError(Kind.NOT_FOUND, "user_not_found", "There is no such user.", "user_id")
