"""What is asked of users, and pages of them."""

from __future__ import annotations

from datetime import datetime

from msgspec import UNSET, Struct, UnsetType

from gateway.domain.users.model import User


class NewUser(Struct, frozen=True, kw_only=True):
    """A user to make. Without an ``organization`` (id, slug or number) they get one of their own and are its owner.

    ``username`` defaults to the email. ``role`` is one of ``config/roles.yaml``. ``subject`` is ``issuer|subject`` of
    one who signs in elsewhere. ``password_hash`` is for who hashed the password before the work began, so that nobody
    waits for a write meanwhile; it stands in the place of ``password``.
    """

    email: str
    username: str | None = None
    password: str | None = None
    password_hash: str | None = None
    auth_method: str = "password"
    organization: str | None = None
    role: str | None = None
    subject: str | None = None


class UserUpdate(Struct, frozen=True, kw_only=True):
    """What is to change; what is not given stays. ``status`` is active, disabled or suspended."""

    username: str | UnsetType = UNSET
    password: str | UnsetType = UNSET
    status: str | UnsetType = UNSET


class UserFilter(Struct, frozen=True, kw_only=True):
    """Which users; None for any. ``search`` is part of an email or a username."""

    organization: str | None = None
    role: str | None = None
    status: str | None = None
    search: str | None = None


class Assignment(Struct, frozen=True):
    """A user and what they are: in their own organisation, or in the one that was asked for."""

    user: User
    role: str
    assigned_at: datetime


class AssignmentPage(Struct, frozen=True):
    """A page of users with their roles, and how many there are in all."""

    items: tuple[Assignment, ...]
    total: int


class RoleChange(Struct, frozen=True):
    """What a user was, and is now."""

    user: User
    old: str | None
    new: str
    at: datetime
