"""People of other issuers: made, or brought in line with what their token says, when they first come with it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.exc import IntegrityError

from gateway.domain.actor import PLATFORM_ADMIN, SYSTEM
from gateway.domain.oidc.service import Identity
from gateway.domain.organizations import repo as organizations
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.roles.catalog import catalog
from gateway.domain.turns import take_turn
from gateway.domain.users import repo as users
from gateway.domain.users.model import User
from gateway.domain.users.requests import NewUser
from gateway.domain.users.service import DEFAULT_ROLE, UserService
from gateway.domain.work import Work, Works
from gateway.kernel.errors import GatewayError, Kind


async def settled(work: Work, identity: Identity) -> tuple[User, str, str] | None:
    """The user, the organisation's id and the role, where everything is as the token says; None where it is not."""
    user = await users.by_subject(work.session, identity.subject)
    organization = await organizations.by_name(work.session, identity.organization)
    if user is None or organization is None:
        return None
    member = await users.membership(work.session, user.id, organization.id)
    if member is None:
        return None
    held = PLATFORM_ADMIN if user.is_platform_admin else member.role
    asked = None if user.is_platform_admin else role_of(identity.roles)
    return (user, organization.id, held) if asked is None or asked == held else None


async def settle(works: Works, identity: Identity) -> None:
    """Make what is missing: the organisation, the user, the membership, the role.

    Raises FORBIDDEN ``email_not_verified`` where the email is another user's and the issuer has not verified it.
    """
    async with works.begin(SYSTEM) as work:
        # Newcomers come with several requests at once, and colleagues with the same new organisation.
        await take_turn(work.session, "identities")
        organization = await _organization(work, identity.organization)
        role = role_of(identity.roles)
        user = await users.by_subject(work.session, identity.subject)
        if user is None:
            user = await _adopted(work, identity, organization)
        if user is None:
            new = NewUser(
                email=identity.email, username=identity.username, auth_method="oidc", subject=identity.subject
            )
            await UserService(work).make(new, organization, role or DEFAULT_ROLE)
            return
        member = await users.membership(work.session, user.id, organization)
        held = None if member is None else member.role
        if user.is_platform_admin:
            held = role = PLATFORM_ADMIN
        if member is None or (role is not None and role != held):
            await UserService(work).set_role(user.id, role or held or DEFAULT_ROLE, organization=organization)


def role_of(names: Sequence[str]) -> str | None:
    """The mightiest known role of those named, None for none.

    No role of the whole platform: an issuer may be one organisation's, which would name all the others' administrators.
    """
    known = catalog().roles
    return next((name for name in catalog().names if name in names and not known[name].platform), None)


async def _organization(work: Work, name: str) -> str:
    found = await organizations.by_name(work.session, name)
    return found.id if found is not None else (await OrganizationService(work).ensure(name)).id


async def _adopted(work: Work, identity: Identity, organization: str) -> User | None:
    user = await users.by_email(work.session, users.fold(identity.email), lock=True)
    if user is None:
        return None
    # An issuer speaks for an email only if it has verified it, and makes nobody an administrator of the platform by it.
    elsewhere = identity.is_confined and user.organization_id != organization
    if not identity.is_email_verified or user.is_platform_admin or user.subject is not None or elsewhere:
        raise GatewayError(
            Kind.FORBIDDEN, "email_not_verified", "There is a user with this email who signs in another way."
        )
    user.subject, user.updated_at = identity.subject, work.now
    try:
        await work.session.flush()
    except IntegrityError:
        raise GatewayError(Kind.CONFLICT, "subject_taken", "Another user signs in with this identity.") from None
    await work.audit(
        "user.linked", "user", user.id,
        after={"subject": identity.subject}, organization=user.organization_id, severity="warning",
    )  # fmt: skip
    work.changed("user", user.id)
    return user
