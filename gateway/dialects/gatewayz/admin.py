"""``/admin/create`` and ``/admin/add_credits``: for administrators of the platform."""

from __future__ import annotations

from pydantic import Field

from gateway.dialects.common.authentication import Caller
from gateway.dialects.common.context import ContextOf
from gateway.dialects.common.fields import IdempotencyKey, naming
from gateway.dialects.common.models import Answer, Asked, Dollars, Reference
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import WorksOf, Writing
from gateway.dialects.gatewayz.keys import Environment
from gateway.domain.accounts.opening import open_account
from gateway.domain.accounts.service import AccountService
from gateway.domain.users import passwords
from gateway.domain.users.requests import NewUser
from gateway.kernel.money import to_nanos

router = make_router()
_MOST_DOLLARS = 1_000_000


class NewAccount(Asked):
    """An account to open. Beyond the reference: a password to sign in with, a plan, and an organisation to join."""

    username: str | None = None
    email: str
    auth_method: str = "email"
    environment_tag: Environment = "live"
    password: str | None = None
    plan: str | None = None
    organization_id: str | None = None


class AccountAnswer(Answer):
    """A new account; ``api_key`` is told this once."""

    success: bool = True
    user_id: int
    username: str
    api_key: str
    credits: Dollars


class NewCredits(Asked):
    """Dollars to give to the account of a user: a number, or an id such as ``user_…``."""

    user_id: Reference
    credits: float = Field(gt=0, le=_MOST_DOLLARS)
    reason: str = ""


class CreditsAnswer(Answer):
    """Dollars the account may now spend."""

    success: bool = True
    message: str = "Credits added successfully"
    new_balance: Dollars


@router.post("/admin/create")
async def create_account(asked: NewAccount, works: WorksOf, actor: Caller) -> AccountAnswer:
    """A user with an organisation of their own, credits to begin with and a first key."""
    actor.require_platform()
    hashed = None if asked.password is None else await passwords.hashed(asked.password)
    new = NewUser(
        email=asked.email,
        username=asked.username,
        password_hash=hashed,
        auth_method=asked.auth_method,
        organization=asked.organization_id,
    )
    with naming(environment="environment_tag", organization="organization_id"):
        async with works.begin(actor) as work:
            made = await open_account(work, new, environment=asked.environment_tag, plan=asked.plan)
    return AccountAnswer(
        user_id=made.user.number, username=made.user.username, api_key=made.secret, credits=made.granted
    )


@router.post("/admin/add_credits")
async def add_credits(
    asked: NewCredits, work: Writing, context: ContextOf, idempotency_key: IdempotencyKey = None
) -> CreditsAnswer:
    """Give credits. The same ``Idempotency-Key`` gives them once."""
    balance = await AccountService(work).add_credits(
        asked.user_id, to_nanos(asked.credits), asked.reason, context.counters, idempotency_key=idempotency_key
    )
    return CreditsAnswer(new_balance=balance.remaining)
