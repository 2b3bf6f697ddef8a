"""What ``gateway.yaml`` says of accounts, written down when the sidecar starts."""

from __future__ import annotations

from gateway.domain.authentication.service import DEFAULT_ORGANIZATION
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.tokens import repo as tokens
from gateway.domain.users import model, passwords, repo
from gateway.domain.users.model import User
from gateway.domain.users.requests import NewUser
from gateway.domain.users.service import UserService
from gateway.domain.work import Work
from gateway.settings.model import Settings


async def ensure_accounts(work: Work, settings: Settings) -> None:
    """Make the organisations that are named, ``default`` among them, and the administrator. Under ``SYSTEM``."""
    names = [DEFAULT_ORGANIZATION, *(key.organization for key in settings.keys)]
    for name in dict.fromkeys([*names, *(item.default_organization for item in settings.oidc)]):
        await OrganizationService(work).ensure(name)
    if settings.admin is not None:
        await ensure_admin(work, settings.admin.email, settings.admin.password)


async def ensure_admin(work: Work, email: str, password: str) -> User:
    """Make the configured administrator, or make sure that they can sign in with that password and may do everything.

    Raises :class:`GatewayError` (INVALID, field ``password`` or ``email``).
    """
    user = await repo.by_email(work.session, repo.fold(email), lock=True)
    if user is None:
        organization = (await OrganizationService(work).ensure(DEFAULT_ORGANIZATION)).id
        return await UserService(work).make(NewUser(email=email, password=password), organization, "platform_admin")
    changed: list[str] = []
    if user.password_hash is None or not await passwords.matches(user.password_hash, password):
        user.password_hash = await passwords.hashed(password)
        await tokens.revoke_all(work.session, user.id, work.now)
        changed.append("password")
    if not user.is_platform_admin:
        user.is_platform_admin = True
        changed.append("is_platform_admin")
    if user.status != model.ACTIVE:
        user.status = model.ACTIVE
        changed.append("status")
    if changed:
        user.updated_at = work.now
        await work.audit(
            "user.updated", "user", user.id,
            after={"changed": changed}, organization=user.organization_id, severity="warning",
        )  # fmt: skip
        work.changed("user", user.id)
    return user
