"""Limits: set, listed, removed. All limits that concern a request hold, a plan's as well as these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, get_args

from msgspec import Struct
from sqlalchemy import select

from gateway.contract.policy import LimitPolicy, Metric
from gateway.contract.windows import is_window
from gateway.domain.fields import amount, invalid, text
from gateway.domain.limits import scopes
from gateway.domain.limits.model import Limit
from gateway.domain.turns import take_turn
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind

METRICS: tuple[str, ...] = get_args(Metric)
Limits: TypeAlias = Sequence[Limit]


class LimitSpec(Struct, frozen=True, kw_only=True):
    """A limit to set: at most ``limit`` of ``metric`` in each ``window``; money is nano-dollars.

    ``scope_id`` is a key's, user's or organisation's id, a model's or provider's name, or empty for ``global``.
    """

    scope: str
    scope_id: str
    metric: str
    limit: int
    window: str | None = None
    sliding: bool = False
    model: str | None = None
    provider: str | None = None
    reason: str | None = None


class LimitService:
    """What can be done with limits, within one work."""

    def __init__(self, work: Work) -> None:
        self.work = work

    async def set(self, spec: LimitSpec) -> Limit:
        """Set a limit, in the place of the one for the same scope, metric, window, model and provider.

        An organisation may limit its keys and users; the rest is the platform's, and so is what the platform has set.
        Raises INVALID, FORBIDDEN, NOT_FOUND.
        """
        owner = await scopes.owner_of(self.work, spec.scope, spec.scope_id)
        set_by = scopes.require_write(self.work.actor, spec.scope, owner)
        policy = _policy(spec)
        reason = None if spec.reason is None else text(spec.reason, "reason", longest=500)
        await take_turn(self.work.session, f"limit {policy.key}")
        query = select(Limit).where(Limit.key == policy.key).with_for_update()
        row = await self.work.session.scalar(query)
        if row is None:
            row = await self._add(policy, set_by, reason, owner)
        else:
            scopes.require_change(self.work.actor, row.set_by)
            if (row.limit, row.reason) == (policy.limit, reason):
                return row
            before = _shown(row)
            row.limit, row.reason, row.set_by, row.updated_at = policy.limit, reason, set_by, self.work.now
            await self._audit("limit.updated", row, owner, before, _shown(row))
        scopes.mark(self.work, row.scope, row.scope_id)
        return row

    async def list_for(self, scope: str, scope_id: str) -> Limits:
        """The limits set for a scope, in the order they were first set. Raises FORBIDDEN, NOT_FOUND, INVALID."""
        owner = await scopes.owner_of(self.work, scope, scope_id)
        scopes.require_read(self.work.actor, scope, scope_id, owner)
        query = select(Limit).where(Limit.scope == scope, Limit.scope_id == scope_id).order_by(Limit.number)
        return (await self.work.session.scalars(query)).all()

    async def remove(self, reference: str) -> Limit:
        """Remove a limit by its id or its policy's key. Raises NOT_FOUND ``limit_not_found``, FORBIDDEN."""
        query = select(Limit).where((Limit.id == reference) | (Limit.key == reference)).with_for_update()
        row = await self.work.session.scalar(query)
        if row is None:
            raise GatewayError(Kind.NOT_FOUND, "limit_not_found", "There is no such limit.", "limit_id")
        owner = await scopes.owner_of(self.work, row.scope, row.scope_id)
        scopes.require_write(self.work.actor, row.scope, owner)
        scopes.require_change(self.work.actor, row.set_by)
        await self.work.session.delete(row)
        await self._audit("limit.removed", row, owner, _shown(row), None)
        scopes.mark(self.work, row.scope, row.scope_id)
        return row

    async def _add(self, policy: LimitPolicy, set_by: str, reason: str | None, owner: str | None) -> Limit:
        row = Limit(
            key=policy.key,
            scope=policy.scope,
            scope_id=policy.scope_id,
            metric=policy.metric,
            window=policy.window,
            sliding=policy.sliding,
            limit=policy.limit,
            model=policy.model,
            provider=policy.provider,
            set_by=set_by,
            reason=reason,
            created_at=self.work.now,
            updated_at=self.work.now,
        )
        self.work.session.add(row)
        await self.work.session.flush()
        await self._audit("limit.created", row, owner, None, _shown(row))
        return row

    async def _audit(
        self, action: str, row: Limit, owner: str | None, before: dict[str, Any] | None, after: dict[str, Any] | None
    ) -> None:
        await self.work.audit(action, "limit", row.id, before=before, after=after, organization=owner)


def policy_of(row: Limit) -> LimitPolicy:
    """The limit as the data plane knows it."""
    fields: Any = {"scope": row.scope, "metric": row.metric}
    return LimitPolicy(
        **fields,
        scope_id=row.scope_id,
        limit=row.limit,
        window=row.window,
        sliding=row.sliding,
        model=row.model,
        provider=row.provider,
    )


def _policy(spec: LimitSpec) -> LimitPolicy:
    if spec.metric not in METRICS:
        raise invalid(f"metric must be one of {', '.join(METRICS)}.", "metric")
    if spec.metric == "concurrency":
        if spec.window is not None or spec.sliding:
            raise invalid("concurrency takes no window.", "window")
    elif spec.window is None or not is_window(spec.window):
        raise invalid("window must be 10s, minute, hour, day, week, month, year, total or alike.", "window")
    if spec.sliding and spec.window == "total":
        raise invalid("a window that never ends can't slide.", "sliding")
    scope_id = "" if spec.scope == "global" else text(spec.scope_id, "scope_id")
    # A limit of a model or a provider concerns the requests for it alone.
    named = {"model": spec.model, "provider": spec.provider} | (
        {spec.scope: scope_id} if spec.scope in ("model", "provider") else {}
    )
    fields: Any = {name: None if value is None else text(value, name) for name, value in named.items()}
    fields |= {"scope": spec.scope, "metric": spec.metric}
    return LimitPolicy(
        **fields, scope_id=scope_id, limit=amount(spec.limit, "limit"), window=spec.window, sliding=spec.sliding
    )


def _shown(row: Limit) -> dict[str, Any]:
    return {"key": row.key, "limit": row.limit, "reason": row.reason}
