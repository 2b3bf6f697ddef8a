"""What AI Marketplace's analytics ask and answer, in ``camelCase``. Latencies are milliseconds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.dialects.common.models import CamelAnswer, CamelAsked, CamelParameters, Dollars, Instant
from gateway.domain.analytics.periods import of_seconds
from gateway.domain.learning.dashboard import Dashboard, Period
from gateway.domain.learning.feedback import Accuracy, Told
from gateway.domain.learning.insights import Insight, Recommendation
from gateway.domain.learning.sums import Chosen, mean_accuracy
from gateway.kernel.money import to_nanos

_Text = Annotated[str, Field(min_length=1, max_length=200)]
_LONGEST_MS = 86_400_000
_DEAREST = 1_000_000


class Track(CamelAsked):
    """What came of a decision. What is left out was not observed; ``metadata`` is the caller's own and not kept."""

    request_id: _Text
    actual_provider: _Text | None = None
    actual_model: _Text | None = None
    actual_cost: Annotated[float, Field(ge=0, le=_DEAREST)] | None = None
    actual_latency: Annotated[float, Field(ge=0, le=_LONGEST_MS)] | None = None
    actual_quality: Annotated[float, Field(ge=0, le=1)] | None = None
    user_satisfaction: Annotated[int, Field(ge=1, le=5)] | None = None
    success: bool = True
    metadata: dict[str, Any] | None = None

    def told(self) -> Told:
        """The same as the domain takes it."""
        return Told(
            id=self.request_id,
            provider=self.actual_provider,
            model=self.actual_model,
            cost_nanos=None if self.actual_cost is None else to_nanos(self.actual_cost),
            latency_ms=None if self.actual_latency is None else round(self.actual_latency),
            quality=self.actual_quality,
            satisfaction=self.user_satisfaction,
            success=self.success,
        )


class PredictionAccuracy(CamelAnswer):
    """Percent; null where nothing was told to compare with."""

    cost_accuracy: float | None
    latency_accuracy: float | None
    provider_match: bool
    model_match: bool
    overall_score: float


class TrackedData(CamelAnswer):
    """A report that is kept."""

    request_id: str
    recorded: Literal[True] = True
    prediction_accuracy: PredictionAccuracy
    contributed_to_learning: bool


class Tracked(CamelAnswer):
    """A report that is kept."""

    success: Literal[True] = True
    message: str = "Analytics data recorded successfully"
    data: TrackedData


class DashboardParameters(CamelParameters):
    """Which dashboard."""

    period: Period = "30d"
    include_insights: bool = True
    include_recommendations: bool = True


class Overview(CamelAnswer):
    """Requests of models. ``successRate`` is percent; ``mlRoutingSavings`` what the targets chosen were expected to
    cost less than those of the highest expected quality."""

    period: Period
    total_requests: int
    successful_requests: int
    failed_requests: int
    success_rate: int
    total_cost: Dollars
    avg_response_time: int
    ml_routing_requests: int
    ml_routing_savings: Dollars


class RequestsAt(CamelAnswer):
    """Requests of an hour or a day."""

    date: Instant
    requests: int


class CostAt(CamelAnswer):
    """The cost of an hour or a day."""

    date: Instant
    cost: Dollars


class ResponseTimeAt(CamelAnswer):
    """The mean response time of an hour or a day; 0 where there was no request."""

    date: Instant
    avg_response_time: int


class UsageOverTime(CamelAnswer):
    """Days of the period, hours of ``24h``; those without a request too."""

    requests_over_time: list[RequestsAt]
    cost_over_time: list[CostAt]
    response_time_over_time: list[ResponseTimeAt]


class ProviderShare(CamelAnswer):
    """How many decisions were for a provider."""

    provider: str
    count: int
    percentage: int


class ReportedAccuracy(CamelAnswer):
    """Percent over what was reported; null where nothing was."""

    cost: int | None
    latency: int | None
    provider: int | None


class MlRouting(CamelAnswer):
    """Decisions of learned routes."""

    total_decisions: int
    avg_confidence: float
    provider_distribution: list[ProviderShare]
    prediction_accuracy: ReportedAccuracy


class InsightAnswer(CamelAnswer):
    """Something that the figures show."""

    type: str
    severity: str
    title: str
    description: str
    recommendation: str


class RecommendationAnswer(CamelAnswer):
    """Something that could be done; ``estimatedSavings`` is a share of the expected cost."""

    type: str
    priority: str
    title: str
    description: str
    action: str
    estimated_savings: str | None


class DashboardData(CamelAnswer):
    """A dashboard."""

    overview: Overview
    usage: UsageOverTime
    ml_routing: MlRouting
    insights: list[InsightAnswer]
    recommendations: list[RecommendationAnswer]


class DashboardAnswer(CamelAnswer):
    """A dashboard."""

    success: Literal[True] = True
    data: DashboardData


def tracked(request_id: str, found: Accuracy) -> Tracked:
    """The answer to a report."""
    accuracy = PredictionAccuracy(
        cost_accuracy=found.cost,
        latency_accuracy=found.latency,
        provider_match=found.provider_match,
        model_match=found.model_match,
        overall_score=found.overall,
    )
    data = TrackedData(request_id=request_id, prediction_accuracy=accuracy, contributed_to_learning=found.contributed)
    return Tracked(data=data)


def dashboard(found: Dashboard) -> DashboardAnswer:
    """The answer with a dashboard."""
    data = DashboardData(
        overview=_overview(found),
        usage=_usage(found),
        ml_routing=_routing(found),
        insights=[_insight(each) for each in found.insights],
        recommendations=[_recommendation(each) for each in found.recommendations],
    )
    return DashboardAnswer(data=data)


def _overview(found: Dashboard) -> Overview:
    return Overview(
        period=found.period,
        total_requests=found.requests,
        successful_requests=found.succeeded,
        failed_requests=found.failed,
        success_rate=round(100 * found.succeeded / found.requests) if found.requests else 0,
        total_cost=found.cost_nanos,
        avg_response_time=found.average_ms,
        ml_routing_requests=found.routed.decisions,
        ml_routing_savings=found.routed.saved_nanos,
    )


def _usage(found: Dashboard) -> UsageOverTime:
    dated = [(of_seconds(point.start), point) for point in found.points]
    return UsageOverTime(
        requests_over_time=[RequestsAt(date=at, requests=point.requests) for at, point in dated],
        cost_over_time=[CostAt(date=at, cost=point.cost_nanos) for at, point in dated],
        response_time_over_time=[ResponseTimeAt(date=at, avg_response_time=point.average_ms) for at, point in dated],
    )


def _routing(found: Dashboard) -> MlRouting:
    routed = found.routed
    matches = round(100 * routed.provider_matches / routed.tracked) if routed.tracked else None
    accuracy = ReportedAccuracy(
        cost=_whole(mean_accuracy(routed.cost_accuracy, routed.costs)),
        latency=_whole(mean_accuracy(routed.latency_accuracy, routed.latencies)),
        provider=matches,
    )
    return MlRouting(
        total_decisions=routed.decisions,
        avg_confidence=routed.average_confidence,
        provider_distribution=_shares(found.by_target, routed.decisions),
        prediction_accuracy=accuracy,
    )


def _shares(by_target: tuple[Chosen, ...], total: int) -> list[ProviderShare]:
    counts: dict[str, int] = {}
    for each in by_target:
        provider = each.target.partition("/")[0].upper()
        counts[provider] = counts.get(provider, 0) + each.decisions
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [
        ProviderShare(provider=name, count=count, percentage=round(100 * count / total))
        for name, count in ordered
        if count
    ]


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _insight(each: Insight) -> InsightAnswer:
    return InsightAnswer(
        type=each.type,
        severity=each.severity,
        title=each.title,
        description=each.description,
        recommendation=each.recommendation,
    )


def _recommendation(each: Recommendation) -> RecommendationAnswer:
    return RecommendationAnswer(
        type=each.type,
        priority=each.priority,
        title=each.title,
        description=each.description,
        action=each.action,
        estimated_savings=each.estimated_savings,
    )
