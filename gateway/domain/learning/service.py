"""What operators do with what was learnt: look at it, take it along, and begin anew."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import delete, func, select, update

from gateway.contract.learned_routes import LearnedRoutes
from gateway.domain.analytics.periods import of_ns
from gateway.domain.learning.learner import decoded, routes
from gateway.domain.learning.model import RoutingDecision, RoutingFeedback, RoutingState
from gateway.domain.turns import take_turn
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind


class LearningService:
    """What can be done with what organizations' feedback taught, within one work. Only for the platform."""

    def __init__(self, work: Work) -> None:
        self.work = work

    async def organizations(self) -> list[str]:
        """Those for which something was learnt."""
        self.work.actor.require_platform()
        query = select(RoutingState.organization).order_by(RoutingState.organization)
        return list(await self.work.session.scalars(query))

    async def export(self, organization: str) -> dict[str, Any]:
        """All that was learnt for an organization, as JSON has it. Raises NOT_FOUND ``nothing_learnt``."""
        self.work.actor.require_platform()
        row = await self._found(organization)
        told: LearnedRoutes = await routes(self.work, organization)
        session = self.work.session
        waiting = {
            name: await session.scalar(
                select(func.count()).select_from(table).where(table.organization == organization, table.waiting)
            )
            for name, table in (("decisions", RoutingDecision), ("feedback", RoutingFeedback))
        }
        return {
            "organization": organization,
            "updated_at": of_ns(row.updated_ns).isoformat(),
            "waiting": waiting,
            "routes": msgspec.to_builtins(told),
            "state": msgspec.to_builtins(decoded(row.state), str_keys=True),
        }

    async def reset(self, organization: str) -> None:
        """Forget what was learnt for an organization, and what waits to be learned from: the weights alone decide
        again. Its decisions and reports are kept. Raises NOT_FOUND ``nothing_learnt``."""
        self.work.actor.require_platform()
        session = self.work.session
        await take_turn(session, f"routing {organization}")
        row = await self._found(organization)
        state = decoded(row.state)
        before = {"observed": state.observed, "rewarded": state.rewarded, "fixed": state.guard.fixed}
        await session.execute(delete(RoutingState).where(RoutingState.organization == organization))
        for table in (RoutingDecision, RoutingFeedback):
            ours = update(table).where(table.organization == organization, table.waiting)
            await session.execute(ours.values(waiting=False))
        await self.work.audit(
            "routing.reset", "routing", organization, before=before, organization=organization, severity="warning"
        )
        self.work.changed("routing", organization)

    async def _found(self, organization: str) -> RoutingState:
        row = await self.work.session.get(RoutingState, organization)
        if row is None:
            message = f"Nothing was learnt for an organization {organization!r}."
            raise GatewayError(Kind.NOT_FOUND, "nothing_learnt", message, "organization")
        return row
