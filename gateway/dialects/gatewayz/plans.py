"""``/plans``: what there is to subscribe to."""

from __future__ import annotations

from gateway.dialects.common.models import Answer, Dollars
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import Reading
from gateway.domain.plans.conversion import UNLIMITED, monthly_price
from gateway.domain.plans.model import Plan
from gateway.domain.plans.service import PlanService

router = make_router()
CATALOG = "gatewayz"
_UNLIMITED = UNLIMITED["max_api_calls_per_month"]


class ShownPlan(Answer):
    """A plan. ``monthly_price`` is dollars, null where it is agreed upon in person."""

    id: int
    plan_name: str
    plan_type: str
    description: str
    monthly_price: Dollars | None
    daily_request_limit: int
    monthly_request_limit: int
    features: list[str]


class PlansAnswer(Answer):
    """Every plan on offer."""

    success: bool = True
    data: list[ShownPlan]
    count: int


class PlanAnswer(Answer):
    """One plan."""

    success: bool = True
    plan: ShownPlan


@router.get("/plans")
async def list_plans(work: Reading) -> PlansAnswer:
    """The plans this reference lists."""
    rows = await PlanService(work).list(CATALOG)
    return PlansAnswer(data=[_shown(row) for row in rows], count=len(rows))


@router.get("/plans/{plan_id}")
async def get_plan(plan_id: str, work: Reading) -> PlanAnswer:
    """A plan by its running number, its id or its name."""
    return PlanAnswer(plan=_shown(await PlanService(work).get(plan_id)))


def _shown(row: Plan) -> ShownPlan:
    return ShownPlan(
        id=row.number,
        plan_name=row.title,
        plan_type="free" if row.is_free else "subscription",
        description=row.description,
        monthly_price=monthly_price(row),
        daily_request_limit=_limit(row, "day"),
        monthly_request_limit=_limit(row, "month"),
        features=row.benefits,
    )


def _limit(row: Plan, window: str) -> int:
    found = row.limit_of("requests", window)
    return _UNLIMITED if found is None else found
