"""Reading and changing signing keys and refresh tokens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.tokens.model import RefreshFamily, SigningKey


async def keys(session: AsyncSession, now: datetime) -> Sequence[SigningKey]:
    """The keys whose tokens may still be valid, the newest first."""
    valid = or_(SigningKey.verify_until.is_(None), SigningKey.verify_until > now)
    return (await session.scalars(select(SigningKey).where(valid).order_by(SigningKey.number.desc()))).all()


async def family(session: AsyncSession, id: str, *, lock: bool = False) -> RefreshFamily | None:
    """A sign-in by its id. ``lock``: of two uses of one token at once, the second waits for the first."""
    query = select(RefreshFamily).where(RefreshFamily.id == id)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return await session.scalar(query)


async def revoke_all(session: AsyncSession, user: str, now: datetime) -> None:
    """End every sign-in of a user."""
    live = (RefreshFamily.user_id == user, RefreshFamily.revoked_at.is_(None))
    await session.execute(update(RefreshFamily).where(*live).values(revoked_at=now, updated_at=now))


async def prune(session: AsyncSession, now: datetime) -> None:
    """Forget sign-ins whose tokens are over, and the keys of tokens that are."""
    await session.execute(delete(RefreshFamily).where(RefreshFamily.expires_at < now))
    await session.execute(delete(SigningKey).where(SigningKey.verify_until < now))
