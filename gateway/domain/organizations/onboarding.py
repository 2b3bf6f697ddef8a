"""An organisation with the person who owns it, made at once by the platform."""

from __future__ import annotations

import secrets

from msgspec import Struct

from gateway.domain.actor import Actor
from gateway.domain.organizations.model import Organization
from gateway.domain.organizations.requests import NewOrganization
from gateway.domain.organizations.service import ADMINISTER, OrganizationService
from gateway.domain.users import passwords
from gateway.domain.users.model import User
from gateway.domain.users.requests import NewUser
from gateway.domain.users.service import OWNER, UserService
from gateway.domain.work import Works

_PASSWORD_BYTES = 18


class Onboarded(Struct, frozen=True):
    """A new organisation and its owner, with the password that was made for them: kept nowhere."""

    organization: Organization
    owner: User
    initial_password: str


async def onboard(works: Works, actor: Actor, new: NewOrganization, owner_email: str) -> Onboarded:
    """Make an organisation and its owner, both or neither, in a work of its own; for the platform alone.

    Raises FORBIDDEN, CONFLICT ``slug_taken`` or ``email_taken``, NOT_FOUND ``plan_not_found``, INVALID.
    """
    actor.require(ADMINISTER)
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    hashed = await passwords.hashed(password)
    async with works.begin(actor) as work:
        organization = await OrganizationService(work).create(new)
        owner = NewUser(email=owner_email, password_hash=hashed, organization=organization.id, role=OWNER)
        return Onboarded(organization, await UserService(work).create(owner), password)
