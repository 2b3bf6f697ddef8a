"""Reading credentials."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.credentials.model import Credential
from gateway.domain.credentials.requests import CredentialFilter

_LONGEST_NUMBER = 18  # digits a signed 64-bit number always holds


async def by_digest(session: AsyncSession, digest: bytes) -> Credential | None:
    """The credential of a secret's SHA-256: a key, or the row of a secret that was rotated away."""
    return await session.scalar(select(Credential).where(Credential.digest == digest))


async def by_reference(session: AsyncSession, reference: str | int, *, lock: bool = False) -> Credential | None:
    """A key by its id or its number; no old secret of one. ``lock`` keeps others from changing it meanwhile."""
    query = select(Credential).where(Credential.replaced_by.is_(None))
    if isinstance(reference, int) or (reference.isascii() and reference.isdecimal()):
        if len(str(reference)) > _LONGEST_NUMBER:
            return None
        query = query.where(Credential.number == int(reference))
    else:
        query = query.where(Credential.id == reference)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return await session.scalar(query)


async def old_secrets(session: AsyncSession, id: str) -> Sequence[Credential]:
    """The rows of a key's former secrets, the oldest first, the dead ones included."""
    query = select(Credential).where(Credential.replaced_by == id).order_by(Credential.number)
    return (await session.scalars(query)).all()


async def of_app(session: AsyncSession, app_id: str) -> Credential | None:
    """The credential of an app."""
    query = select(Credential).where(Credential.app_id == app_id, Credential.replaced_by.is_(None))
    return await session.scalar(query)


def filtered(query: Select[Any], chosen: CredentialFilter) -> Select[Any]:
    """The query for the chosen keys, without the rows of old secrets."""
    query = query.where(Credential.replaced_by.is_(None))
    columns = {
        Credential.organization_id: chosen.organization,
        Credential.user_id: chosen.user,
        Credential.app_id: chosen.app,
        Credential.kind: chosen.kind,
        Credential.environment: chosen.environment,
    }
    for column, value in columns.items():
        if value is not None:
            query = query.where(column == value)
    return query.where(Credential.status.in_(chosen.statuses)) if chosen.statuses else query


async def page(
    session: AsyncSession,
    chosen: CredentialFilter,
    limit: int,
    offset: int,
    after: int | None,
    *,
    newest_first: bool = False,
) -> tuple[Sequence[Credential], int]:
    """The chosen keys in the order they were made, or ``newest_first``, beyond number ``after``; and how many there
    are in all."""
    order = Credential.number.desc() if newest_first else Credential.number
    query = filtered(select(Credential), chosen).order_by(order).limit(limit).offset(offset)
    if after is not None:
        query = query.where(Credential.number < after if newest_first else Credential.number > after)
    total = await session.scalar(filtered(select(func.count()).select_from(Credential), chosen))
    return (await session.scalars(query)).all(), total or 0


def is_expired(row: Credential, now: datetime) -> bool:
    """Whether its time is over."""
    return row.expires_at is not None and row.expires_at <= now
