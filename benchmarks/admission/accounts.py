"""A database with many accounts, as a sidecar finds it: organisations on a plan, users with roles, keys with limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import gateway.domain.policy.service  # noqa: F401 - for all tables that these refer to
from gateway.contract.policy import LimitPolicy, Metric
from gateway.domain.budgets.model import Budget
from gateway.domain.credentials.model import Credential
from gateway.domain.limits.model import Limit
from gateway.domain.organizations.model import Organization
from gateway.domain.users.model import Membership, User
from gateway.kernel.secrets import Seal, digest_of
from gateway.store.engine import Store

ORGANIZATIONS = 20
USERS = 200
PLENTY = 1_000_000_000_000
_LIMITS: tuple[tuple[Metric, str], ...] = (("requests", "minute"), ("tokens", "day"))
_SCOPES = ("read", "write", "inference")


async def fill(data_dir: str, master_key: str, keys: int) -> list[str]:
    """Make them; gives the keys' secrets.

    Each organisation is on the plan ``bench`` and has a budget, each key is a user's and has two limits of its own.
    """
    seal, now = Seal(master_key), datetime.now(UTC)
    async with _opened(data_dir) as store:
        times = {"created_at": now, "updated_at": now}
        async with store.writing() as session:
            for number in range(ORGANIZATIONS):
                name = f"org_{number}"
                session.add(Organization(id=name, slug=name, name=name, plan="bench", **times))
                session.add(
                    Budget(
                        scope="organization", scope_id=name, period="month", amount_nanos=PLENTY * 1000,
                        name="", set_by="platform", **times,
                    )
                )  # fmt: skip
            await session.flush()
            for number in range(USERS):
                user, home = f"user_{number}", f"org_{number % ORGANIZATIONS}"
                session.add(User(id=user, email=f"{number}@example.com", username=user, organization_id=home, **times))
            await session.flush()
            for number in range(USERS):
                home = f"org_{number % ORGANIZATIONS}"
                session.add(
                    Membership(user_id=f"user_{number}", organization_id=home, role="developer", assigned_at=now)
                )
            secrets = []
            for number in range(keys):
                secret = _secret(number, seal)
                secrets.append(secret)
                session.add_all(_rows(number, digest_of(secret.encode()), times))
    return secrets


@asynccontextmanager
async def _opened(data_dir: str) -> AsyncIterator[Store]:
    store = Store.open(None, data_dir)
    try:
        await store.migrate()
        yield store
    finally:
        await store.close()


def _secret(number: int, seal: Seal) -> str:
    body = b"gw_live_%035d" % number
    return (body + seal.mark(body)).decode()


def _rows(number: int, digest: bytes, times: dict[str, Any]) -> list[Credential | Limit]:
    key, user = f"key_{number:08d}", number % USERS
    made: list[Credential | Limit] = [
        Credential(
            id=key, digest=digest, prefix="gw_live_", last4="0000", name=key, environment="live", models=[], cidrs=[],
            organization_id=f"org_{user % ORGANIZATIONS}", user_id=f"user_{user}", scopes=list(_SCOPES), **times,
        )
    ]  # fmt: skip
    for metric, window in _LIMITS:
        policy = LimitPolicy("key", key, metric, PLENTY, window)
        made.append(
            Limit(
                key=policy.key, scope="key", scope_id=key, metric=metric, window=window, sliding=False, limit=PLENTY,
                set_by="platform", **times,
            )
        )  # fmt: skip
    return made
