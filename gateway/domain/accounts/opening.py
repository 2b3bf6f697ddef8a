"""An account at once: a user, an organisation of their own, money to begin with and a first key."""

from __future__ import annotations

from msgspec import Struct

from gateway.domain.credentials.model import Credential
from gateway.domain.credentials.requests import NewCredential
from gateway.domain.credentials.service import CredentialService
from gateway.domain.credits.service import CreditService
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.users.model import User
from gateway.domain.users.requests import NewUser
from gateway.domain.users.service import UserService
from gateway.domain.work import Work
from gateway.kernel.money import to_nanos

SIGN_UP_CREDITS = to_nanos(10)
"""What a new account is given: ``credits: 10.0`` in the answers of Gatewayz, "Create User Account"."""
FIRST_KEY = "Primary key"


class Account(Struct, frozen=True):
    """A new account. ``secret`` is kept nowhere; ``granted`` is nano-dollars."""

    user: User
    key: Credential
    secret: str
    granted: int


async def open_account(
    work: Work, new: NewUser, *, environment: str = "live", plan: str | None = None, grant: int = SIGN_UP_CREDITS
) -> Account:
    """Make all of it or nothing; for the platform alone. A user of an organisation that exists spends its money: then
    nothing is granted.

    Raises FORBIDDEN, CONFLICT ``email_taken``, NOT_FOUND ``organization_not_found`` or ``plan_not_found``, INVALID.
    """
    work.actor.require_platform()
    user = await UserService(work).create(new)
    if plan is not None:
        await OrganizationService(work).set_plan(user.organization_id, plan)
    if new.organization is not None:
        grant = 0
    if grant:
        await CreditService(work).add(user.organization_id, grant, "grant", "New account")
    asked = NewCredential(name=FIRST_KEY, organization=user.organization_id, user=user.id, environment=environment)
    key, secret = await CredentialService(work).create(asked)
    return Account(user, key, secret, grant)
