"""The limits of one user's requests in each minute, hour and day, and for single models in each minute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, UnsetType

from gateway.contract.policy import LimitPolicy
from gateway.domain.fields import invalid
from gateway.domain.ledger.query import Filter
from gateway.domain.limits.service import LimitService, LimitSpec, policy_of
from gateway.domain.usage.calls import calls, since
from gateway.domain.usage.counters import Counters
from gateway.domain.users.service import UserService
from gateway.domain.work import Work

PERIODS = ("minute", "hour", "day")
_SUMMED = ("hour", "day")
_OF_MODELS = "minute"


class RateLimits(Struct, frozen=True):
    """What is set for a user (an id): requests by period, and requests a minute by model."""

    user: str
    periods: dict[str, int]
    models: dict[str, int]


class RateService:
    """What can be done with the rates of users, within one work. A reference is a user's id, number or email."""

    def __init__(self, work: Work) -> None:
        self.work = work

    async def get(self, reference: str | int) -> RateLimits:
        """What is set for a user. Raises FORBIDDEN, NOT_FOUND ``user_not_found``."""
        return await self._of((await UserService(self.work).get(reference)).id)

    async def set(
        self,
        reference: str | int,
        periods: Mapping[str, int | UnsetType | None],
        models: Mapping[str, int | None],
        known: Sequence[str],
        reason: str | None = None,
    ) -> RateLimits:
        """Set what is given, lift what is None. ``known`` are the models there are.

        Raises FORBIDDEN, NOT_FOUND ``user_not_found``, INVALID for a model that is not known.
        """
        user = (await UserService(self.work).get(reference)).id
        for period, limit in periods.items():
            if not isinstance(limit, UnsetType):
                await self._put(user, period, None, limit, reason)
        for name, limit in models.items():
            field = f"custom_limits.{name}"
            if name not in known:
                expected = ", ".join(sorted(known)[:20]) or "none is configured"
                raise invalid(f"{field} must be the name of a model: {expected}.", field)
            await self._put(user, _OF_MODELS, name, limit, reason)
        return await self._of(user)

    async def used(self, found: RateLimits, counters: Counters) -> dict[str, int]:
        """What is used by period: as it is counted where a limit is set, else by the ledger, seconds after a call has
        ended. The ledger sums up no minutes: without a limit that period is left out."""
        keys = {period: _policy(found.user, period).key for period in found.periods}
        used = await counters.used(list(keys.values()), self.work.now.timestamp())
        entered = {period: await self._entered(found.user, period) for period in _SUMMED if period not in keys}
        return entered | {period: used.get(key, 0) for period, key in keys.items()}

    async def _entered(self, user: str, period: str) -> int:
        return await calls(self.work.session, Filter(users=(user,), from_ns=since(period, self.work.now)))

    async def _of(self, user: str) -> RateLimits:
        periods, models = {}, {}
        for row in await LimitService(self.work).list_for("user", user):
            policy = policy_of(row)
            if policy.window in PERIODS and policy.key == _policy(user, policy.window).key:
                periods[policy.window] = row.limit
            elif policy.key == _policy(user, _OF_MODELS, row.model).key:
                models[row.model or ""] = row.limit
        return RateLimits(user, periods, models)

    async def _put(self, user: str, period: str, model: str | None, limit: int | None, reason: str | None) -> None:
        service = LimitService(self.work)
        if limit is not None:
            spec = LimitSpec(
                scope="user", scope_id=user, metric="requests", limit=limit, window=period, model=model, reason=reason
            )
            await service.set(spec)
            return
        key = _policy(user, period, model).key
        if any(row.key == key for row in await service.list_for("user", user)):
            await service.remove(key)


def _policy(user: str, period: str, model: str | None = None) -> LimitPolicy:
    return LimitPolicy("user", user, "requests", 0, period, model=model)
