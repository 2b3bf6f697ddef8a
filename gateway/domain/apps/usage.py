"""How much an app has used."""

from __future__ import annotations

from gateway.contract.policy import LimitPolicy
from gateway.domain.apps.model import App
from gateway.domain.credentials import repo
from gateway.domain.usage.counters import Counters
from gateway.domain.work import Work


async def requests_this_month(work: Work, counters: Counters, app: App) -> int:
    """The requests of an app in this calendar month (UTC), as counted for its tier's monthly limit; 0 without one."""
    credential = await repo.of_app(work.session, app.app_id)
    if credential is None:
        return 0
    key = LimitPolicy("key", credential.id, "requests", 0, window="month", source="plan").key
    return (await counters.used([key], work.now.timestamp()))[key]
