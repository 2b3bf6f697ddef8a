"""An organisation with the person who owns it, made at once by the platform."""

from __future__ import annotations

import secrets

from msgspec import Struct

from gateway.domain.organizations.model import Organization
from gateway.domain.organizations.requests import NewOrganization
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.users.model import User
from gateway.domain.users.requests import NewUser
from gateway.domain.users.service import OWNER, UserService
from gateway.domain.work import Work

_PASSWORD_BYTES = 18


class Onboarded(Struct, frozen=True):
    """A new organisation and its owner, with the password that was made for them: kept nowhere."""

    organization: Organization
    owner: User
    initial_password: str


async def onboard(work: Work, new: NewOrganization, owner_email: str) -> Onboarded:
    """Make an organisation and its owner, both or neither; for the platform alone.

    Raises FORBIDDEN, CONFLICT ``slug_taken`` or ``email_taken``, NOT_FOUND ``plan_not_found``, INVALID.
    """
    organization = await OrganizationService(work).create(new)
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    owner = NewUser(email=owner_email, password=password, organization=organization.id, role=OWNER)
    return Onboarded(organization, await UserService(work).create(owner), password)
