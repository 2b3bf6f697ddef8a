"""What an app, or an organization, sees of its requests and of what learned routes did for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, Literal

from msgspec import Struct

from gateway.domain.apps.usage import SUCCEEDED
from gateway.domain.learning.insights import Insight, Recommendation, Seen, insights, recommendations
from gateway.domain.learning.learner import decoded
from gateway.domain.learning.model import RoutingState
from gateway.domain.learning.recent import recent
from gateway.domain.learning.sums import Chosen, altogether, chosen
from gateway.domain.ledger import totals
from gateway.domain.ledger.levels import DAY, HOUR
from gateway.domain.ledger.query import Bucket, Filter, Sums
from gateway.domain.work import Work

Period = Literal["24h", "7d", "30d", "90d"]
_SPANS: Final[dict[Period, timedelta]] = {
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "90d": timedelta(days=90),
}
_NUMBERS: Final = ("requests", "cost_nanos", "duration_ms")
_NS: Final = 1_000_000_000


class Whose(Struct, frozen=True):
    """Whose usage is meant: an organization's (None: everybody's), or of that one credential's."""

    organization: str | None
    credential: str | None = None


class Point(Struct, frozen=True):
    """Requests of models in the hour or day from Unix second ``start`` on, with their cost and all their time."""

    start: int
    requests: int = 0
    cost_nanos: int = 0
    duration_ms: int = 0

    @property
    def average_ms(self) -> int:
        """How long a request took; 0 where there was none."""
        return round(self.duration_ms / self.requests) if self.requests else 0


class Dashboard(Struct, frozen=True):
    """Requests of a period, by how they went, over time and by the target that learned routes chose."""

    period: Period
    succeeded: int
    failed: int
    cost_nanos: int
    average_ms: int
    points: tuple[Point, ...]
    routed: Chosen
    by_target: tuple[Chosen, ...]
    insights: tuple[Insight, ...]
    recommendations: tuple[Recommendation, ...]

    @property
    def requests(self) -> int:
        """All of them."""
        return self.succeeded + self.failed


async def dashboard(
    work: Work, whose: Whose, period: Period, *, with_insights: bool = True, with_recommendations: bool = True
) -> Dashboard:
    """The dashboard of a period that ends now; nobody's rights are asked for."""
    bucket: Bucket = "hour" if period == "24h" else "day"
    size = HOUR if bucket == "hour" else DAY
    now = int(work.now.timestamp())
    # Whole hours or days, the present one among them.
    first = now - now % size - (int(_SPANS[period].total_seconds()) // size - 1) * size
    points, outcomes = await _over_time(work, whose, first, size, bucket)
    by_target = await chosen(work.session, whose.organization, whose.credential, first * _NS)
    routed = altogether(by_target)
    latest = await recent(work.session, whose.organization, whose.credential, first * _NS)
    succeeded = sum(item.requests for item in outcomes if item.group[0] in SUCCEEDED)
    requests = sum(item.requests for item in outcomes)
    fixed = await _fixed(work, whose.organization)
    seen = Seen(requests, requests - succeeded, tuple(point.requests for point in points), routed, latest, fixed)
    return Dashboard(
        period=period,
        succeeded=succeeded,
        failed=requests - succeeded,
        cost_nanos=sum(item.cost_nanos for item in outcomes),
        average_ms=round(sum(item.duration_ms for item in outcomes) / requests) if requests else 0,
        points=tuple(points),
        routed=routed,
        by_target=tuple(by_target),
        insights=insights(seen) if with_insights else (),
        recommendations=recommendations(seen) if with_recommendations else (),
    )


async def _over_time(work: Work, whose: Whose, first: int, size: int, bucket: Bucket) -> tuple[list[Point], list[Sums]]:
    """A point for each hour or day since second ``first``, those without a request too; and all by outcome."""
    wanted = Filter(
        organization=whose.organization,
        from_ns=first * _NS,
        credentials=() if whose.credential is None else (whose.credential,),
    )
    found = {item.start: item for item in await totals.sums(work.session, wanted, (), bucket, _NUMBERS)}
    points = []
    for start in range(first, int(work.now.timestamp()) + 1, size):
        item = found.get(start)
        points.append(Point(start) if item is None else Point(start, item.requests, item.cost_nanos, item.duration_ms))
    return points, await totals.sums(work.session, wanted, ("outcome",), None, _NUMBERS)


async def _fixed(work: Work, organization: str | None) -> str | None:
    """The target that the guard takes at present."""
    row = None if organization is None else await work.session.get(RoutingState, organization)
    return None if row is None else decoded(row.state).guard.fixed
