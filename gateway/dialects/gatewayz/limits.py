"""``/admin/rate-limits``: limits of one user's requests.

``custom_limits`` are requests a minute for a model, by the model's name.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from gateway.dialects.common.context import ContextOf
from gateway.dialects.common.fields import given
from gateway.dialects.common.models import Answer, Asked, Reference
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import Reading, Writing
from gateway.domain.fields import LARGEST
from gateway.domain.limits.rates import PERIODS, RateLimits, RateService

router = make_router()
Rate = Annotated[int, Field(ge=0, le=LARGEST)]
_WORDS = {period: f"requests_per_{period}" for period in PERIODS}


class NewLimits(Asked):
    """Limits to set; null lifts one, and what is left out stays."""

    user_id: Reference
    requests_per_minute: Rate | None = None
    requests_per_hour: Rate | None = None
    requests_per_day: Rate | None = None
    custom_limits: dict[str, Rate | None] = Field(default_factory=dict)
    reason: str | None = None

    @model_validator(mode="after")
    def _one_at_least(self) -> Self:
        if not self.model_fields_set - {"user_id", "reason"}:
            raise ValueError(f"must set at least one of {', '.join(_WORDS.values())}")
        return self


class Rates(Answer):
    """Requests in each period; null where none is set for the user."""

    requests_per_minute: int | None
    requests_per_hour: int | None
    requests_per_day: int | None


class AllRates(Rates):
    """With the limits for single models."""

    custom_limits: dict[str, int]


class Used(Answer):
    """Requests so far; null for the minute where it has no limit, and so nobody counts it."""

    requests_this_minute: int | None
    requests_this_hour: int | None
    requests_this_day: int | None


class LimitsAnswer(Answer):
    """What is set for a user, and what is used of it."""

    success: bool = True
    user_id: str
    rate_limits: AllRates
    current_usage: Used


class SetAnswer(Answer):
    """What is set now."""

    success: bool = True
    message: str = "Rate limits updated successfully"
    user_id: str
    rate_limits: Rates


@router.get("/admin/rate-limits/{user_id}")
async def get_limits(user_id: str, work: Reading, context: ContextOf) -> LimitsAnswer:
    """What is set for a user."""
    found = await RateService(work).get(user_id)
    used = await RateService(work).used(found, context.counters)
    return LimitsAnswer(
        user_id=found.user,
        rate_limits=AllRates(**_rates(found), custom_limits=found.models),
        current_usage=Used(**{f"requests_this_{period}": used.get(period) for period in PERIODS}),
    )


@router.post("/admin/rate-limits")
async def set_limits(asked: NewLimits, work: Writing, context: ContextOf) -> SetAnswer:
    """Set or lift limits of a user."""
    known = [model.name for model in context.settings.models]
    periods = given(asked, **_WORDS)
    found = await RateService(work).set(asked.user_id, periods, asked.custom_limits, known, asked.reason)
    return SetAnswer(user_id=found.user, rate_limits=Rates(**_rates(found)))


def _rates(found: RateLimits) -> dict[str, int | None]:
    return {word: found.periods.get(period) for period, word in _WORDS.items()}
