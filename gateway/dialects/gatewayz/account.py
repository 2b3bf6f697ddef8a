"""``/user/balance`` and ``/user/plan``: what the caller has."""

from __future__ import annotations

from gateway.dialects.common.authentication import Known
from gateway.dialects.common.context import ContextOf
from gateway.dialects.common.models import Answer, Dollars, Instant
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import Reading
from gateway.domain.accounts.service import AccountService

router = make_router()


class BalanceAnswer(Answer):
    """The money that is left. ``api_key`` is masked, ``user_id`` the running number; each null where there is none."""

    api_key: str | None
    credits: Dollars
    status: str
    user_id: int | None


class UserPlan(Answer):
    """The plan of the caller's organisation. ``end_date`` is null where it goes on."""

    id: int
    plan_name: str
    status: str
    start_date: Instant
    end_date: Instant | None


class UserPlanAnswer(Answer):
    """``plan`` is null for who is on none."""

    success: bool = True
    plan: UserPlan | None


@router.get("/user/balance")
async def balance(work: Reading, known: Known, context: ContextOf) -> BalanceAnswer:
    """What the caller may still spend."""
    found = await AccountService(work).balance(known.policy, context.counters)
    return BalanceAnswer(api_key=found.key, credits=found.remaining, status=found.status, user_id=found.user_number)


@router.get("/user/plan")
async def user_plan(work: Reading) -> UserPlanAnswer:
    """What plan the caller is on."""
    found = await AccountService(work).plan()
    if found is None:
        return UserPlanAnswer(plan=None)
    plan = UserPlan(
        id=found.plan.number,
        plan_name=found.plan.title,
        status=found.status,
        start_date=found.since,
        end_date=found.until,
    )
    return UserPlanAnswer(plan=plan)
