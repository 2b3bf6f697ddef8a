"""``/roles``: what users are, and may do."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import Field

from gateway.dialects.common.models import Answer, Asked, Instant, Parameters
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import Reading, Writing
from gateway.domain.roles.catalog import catalog
from gateway.domain.users.requests import UserFilter
from gateway.domain.users.service import UserService

router = make_router()


class RoleAnswer(Answer):
    """A user's role and what it allows."""

    success: bool = True
    user_id: str
    role: str
    permissions: list[str]
    assigned_at: Instant


class NewRole(Asked):
    """The role to give, and why."""

    role: str
    reason: str | None = None


class ChangedRole(Answer):
    """What a user was, and is now. ``old_role`` is null for who was nothing."""

    success: bool = True
    message: str = "Role updated successfully"
    user_id: str
    old_role: str | None
    new_role: str
    updated_at: Instant


class ListedRole(Answer):
    """A user in the list."""

    user_id: str
    email: str
    role: str
    assigned_at: Instant


class Roles(Answer):
    """A page of users, and how many there are in all."""

    success: bool = True
    data: list[ListedRole]
    total: int


class Chosen(Parameters):
    """Which users."""

    role: str | None = None
    limit: int = Field(default=100, ge=1, le=1000)
    offset: int = Field(default=0, ge=0)


@router.get("/roles")
async def list_roles(work: Reading, chosen: Annotated[Chosen, Query()]) -> Roles:
    """Users and their roles."""
    found = await UserService(work).list(UserFilter(role=chosen.role), limit=chosen.limit, offset=chosen.offset)
    data = [
        ListedRole(user_id=item.user.id, email=item.user.email, role=item.role, assigned_at=item.assigned_at)
        for item in found.items
    ]
    return Roles(data=data, total=found.total)


@router.get("/roles/{user_id}")
async def get_role(user_id: str, work: Reading) -> RoleAnswer:
    """What a user is."""
    found = await UserService(work).role_of(user_id)
    permissions = list(catalog().get(found.role).permissions)
    return RoleAnswer(user_id=found.user.id, role=found.role, permissions=permissions, assigned_at=found.assigned_at)


@router.put("/roles/{user_id}")
async def set_role(user_id: str, asked: NewRole, work: Writing) -> ChangedRole:
    """Give a user another role in their own organisation."""
    done = await UserService(work).set_role(user_id, asked.role, reason=asked.reason)
    return ChangedRole(user_id=done.user.id, old_role=done.old, new_role=done.new, updated_at=done.at)
