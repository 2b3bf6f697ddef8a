"""What stands out in a dashboard's figures, and what could be done about it. Nothing is said of too few requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

from msgspec import Struct

from gateway.domain.learning.recent import Compared, Recent, against_strongest, cheaper_as_good
from gateway.domain.learning.sums import Chosen, mean_accuracy
from gateway.kernel.money import to_dollars

LEAST: Final = 20
"""Requests, or decisions, below which nothing is said of them."""
NOTICEABLE: Final = 0.2
"""The change of a trend that is told."""
MANY_FAILED: Final = 0.05
FAR_OFF: Final = 70.0
"""Percent of accuracy below which it is told."""
FEW_TOLD: Final = 0.05
WORTH_SAVING: Final = 0.05


class Insight(Struct, frozen=True):
    """Something that the figures show."""

    type: Literal["trend", "reliability", "accuracy", "savings", "guard"]
    severity: Literal["info", "warning", "critical"]
    title: str
    description: str
    recommendation: str


class Recommendation(Struct, frozen=True):
    """Something that could be done. ``estimated_savings`` is a percentage of the expected cost, as text, if there is
    any."""

    type: Literal["optimization", "learning", "reliability"]
    priority: Literal["low", "medium", "high"]
    title: str
    description: str
    action: str
    estimated_savings: str | None = None


class Seen(Struct, frozen=True):
    """The figures of a period: ``series`` is requests over time, ``latest`` the latest decisions, ``fixed`` the target
    that the guard takes at present."""

    requests: int
    failed: int
    series: tuple[int, ...]
    routed: Chosen
    latest: Sequence[Recent]
    fixed: str | None = None


def insights(seen: Seen) -> tuple[Insight, ...]:
    """What stands out, in this order: the trend, failures, savings, accuracy, the guard."""
    return (*_trend(seen), *_failures(seen), *_savings(seen), *_accuracy(seen), *_guard(seen))


def recommendations(seen: Seen) -> tuple[Recommendation, ...]:
    """What could be done."""
    return (*_cheaper(seen), *_untold(seen), *_unreliable(seen))


def _trend(seen: Seen) -> Iterator[Insight]:
    half = len(seen.series) // 2
    before, lately = sum(seen.series[:half]), sum(seen.series[len(seen.series) - half :])
    if seen.requests < LEAST or not before:
        return
    change = lately / before - 1.0
    if abs(change) < NOTICEABLE:
        return
    way = "increased" if change > 0 else "decreased"
    yield Insight(
        "trend",
        "info",
        f"Usage Trending {'Up' if change > 0 else 'Down'}",
        f"The second half of the period has {lately} requests, the first {before}: it {way} by {abs(change):.0%}.",
        "Compare this with the limits of your tier." if change > 0 else "Check that all callers still work.",
    )


def _failures(seen: Seen) -> Iterator[Insight]:
    if seen.requests < LEAST or seen.failed < MANY_FAILED * seen.requests:
        return
    share = seen.failed / seen.requests
    yield Insight(
        "reliability",
        "critical" if share >= 5 * MANY_FAILED else "warning",
        "Many Requests Fail",
        f"{seen.failed} of {seen.requests} requests ({share:.0%}) did not get their whole answer.",
        "Look at which targets fail, and add fallbacks to their models.",
    )


def _savings(seen: Seen) -> Iterator[Insight]:
    compared = against_strongest(seen.latest)
    if compared is None or compared.decisions < LEAST or compared.saved_nanos <= 0:
        return
    yield Insight(
        "savings",
        "info",
        "What Routing Saves",
        f"{_told(compared)} By estimates; the same choices handed out at random would have saved "
        f"${to_dollars(compared.shuffled_saved_nanos):.6f} at an expected quality "
        f"{_points(compared.shuffled_quality_lost)}.",
        "Run gateway router report for what feedback says of it, with confidence intervals.",
    )


def _told(compared: Compared) -> str:
    return (
        f"Over the latest {compared.decisions} decisions, ${to_dollars(compared.saved_nanos):.6f} of "
        f"${to_dollars(compared.fixed_nanos):.6f} were saved against always taking {compared.target}, at an expected "
        f"quality {_points(compared.quality_lost)}."
    )


def _points(lost: float) -> str:
    return f"{abs(lost) * 100:.1f} points {'lower' if lost >= 0 else 'higher'}"


def _accuracy(seen: Seen) -> Iterator[Insight]:
    routed = seen.routed
    told = {
        "cost": mean_accuracy(routed.cost_accuracy, routed.costs),
        "latency": mean_accuracy(routed.latency_accuracy, routed.latencies),
    }
    for name, value in told.items():
        if routed.tracked >= LEAST and value is not None and value < FAR_OFF:
            yield Insight(
                "accuracy",
                "warning",
                f"Estimates of {name.title()} Are Far Off",
                f"What {routed.tracked} reports told of {name} was met by {value:.0f} % on average.",
                "Check the prices in the configuration." if name == "cost" else "Estimates follow what is reported.",
            )


def _guard(seen: Seen) -> Iterator[Insight]:
    if seen.fixed is not None:
        yield Insight(
            "guard",
            "info",
            "A Fixed Choice Is Taken",
            f"By the feedback, what was learnt is not ahead of always taking {seen.fixed}, so that is taken.",
            "Nothing needs to be done: it ends by itself when feedback shows the learned choice ahead.",
        )


def _cheaper(seen: Seen) -> Iterator[Recommendation]:
    share = cheaper_as_good(seen.latest)
    if len(seen.latest) >= LEAST and share >= WORTH_SAVING:
        yield Recommendation(
            "optimization",
            "high" if share >= 4 * WORTH_SAVING else "medium",
            "Cost Optimization Opportunity",
            f"Of the latest {len(seen.latest)} decisions, cheaper targets were expected to answer about as well.",
            'Ask with "optimizeFor": "cost" where a little quality matters less.',
            f"{share:.0%}",
        )


def _untold(seen: Seen) -> Iterator[Recommendation]:
    routed = seen.routed
    if routed.decisions >= LEAST and routed.tracked < FEW_TOLD * routed.decisions:
        yield Recommendation(
            "learning",
            "medium",
            "Tell What Came of It",
            f"Of {routed.decisions} decisions {routed.tracked} were reported on, too few to learn from.",
            "Report quality or satisfaction with POST /v1/analytics/track.",
        )


def _unreliable(seen: Seen) -> Iterator[Recommendation]:
    if seen.requests >= LEAST and seen.failed >= MANY_FAILED * seen.requests:
        yield Recommendation(
            "reliability",
            "high",
            "Fewer Failures",
            f"{seen.failed / seen.requests:.0%} of the requests fail.",
            "Exclude providers that fail by constraints.excludeProviders, or configure retries and fallbacks.",
        )
