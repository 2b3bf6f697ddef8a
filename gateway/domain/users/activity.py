"""How many people there are."""

from __future__ import annotations

from sqlalchemy import func, select

from gateway.domain.users.model import ACTIVE, User
from gateway.domain.work import Work


async def active_users(work: Work) -> int:
    """The users who may sign in and use keys, of every organisation. Raises FORBIDDEN for anyone but the platform."""
    work.actor.require("system:read")
    return await work.session.scalar(select(func.count(User.number)).where(User.status == ACTIVE)) or 0
