"""Taking turns: what reads, decides and then writes a row that may not be there yet must not do so twice at once."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession


async def take_turn(session: AsyncSession, name: str) -> None:
    """Wait until no other transaction holds ``name``, and hold it until this one ends.

    SQLite has one writer at a time anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})
