"""What clients tell came of decisions: once for each, compared with what was expected, and kept to be learned from."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import select

from gateway.contract.learned_routes import Estimate
from gateway.domain.analytics.periods import to_ns
from gateway.domain.fields import amount, invalid, text
from gateway.domain.learning.keeping import add, add_hours, estimates_of, hour_key
from gateway.domain.learning.model import RoutingDecision, RoutingFeedback
from gateway.domain.learning.observing import SUCCEEDED
from gateway.domain.turns import take_turn
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind

_LONGEST_MS: Final = 86_400_000
_LARGEST_COST: Final = 1_000_000_000_000_000  # nano-dollars, a million dollars
_RATINGS: Final = 5


class Told(Struct, frozen=True, kw_only=True):
    """What came of a decision. ``latency_ms`` until the answer's end; ``quality`` 0 to 1, ``satisfaction`` 1 to 5.

    What is None was not told; provider and model are then those that were chosen.
    """

    id: str
    provider: str | None = None
    model: str | None = None
    cost_nanos: int | None = None
    latency_ms: int | None = None
    quality: float | None = None
    satisfaction: int | None = None
    success: bool = True


class Accuracy(Struct, frozen=True):
    """How near what was expected came: percent, None where nothing was told to compare with. ``is_new`` is whether it
    was told for the first time."""

    cost: float | None
    latency: float | None
    provider_match: bool
    model_match: bool
    contributed: bool
    is_new: bool

    @property
    def overall(self) -> float:
        """The mean of all that was compared, as it was told: of tenths, half a one rounded up."""
        tenths = [1_000 * self.provider_match, 1_000 * self.model_match]
        tenths += [round(10 * value) for value in (self.cost, self.latency) if value is not None]
        count = len(tenths)
        return (2 * sum(tenths) + count) // (2 * count) / 10


async def track(work: Work, told: Told) -> Accuracy:
    """Keep what came of a decision of the actor's organization; needs ``api:write``.

    The same told again changes nothing. Raises NOT_FOUND ``decision_not_found``, CONFLICT ``already_tracked`` where
    something else was told of it before, and INVALID.
    """
    _check(told)
    await take_turn(work.session, f"track {told.id}")
    row = await work.session.scalar(select(RoutingDecision).where(RoutingDecision.id == told.id))
    if row is None or not work.actor.may("api:write", row.organization):
        raise not_found()
    text_told = msgspec.json.encode(told).decode()
    before = await work.session.scalar(select(RoutingFeedback).where(RoutingFeedback.id == told.id))
    if before is not None:
        if before.told != text_told:
            message = "Something else was told of this request before; what was learned from it stays."
            raise GatewayError(Kind.CONFLICT, "already_tracked", message, "requestId")
        return _accuracy(before, is_new=False)
    feedback = _feedback(work, row, told, text_told)
    work.session.add(feedback)
    await work.session.flush()
    sums: dict[tuple[Any, ...], list[int]] = {}
    add(sums, hour_key(row.organization, row.started_ns, row.credential, row.chosen), _sums(feedback))
    await add_hours(work.session, sums)
    return _accuracy(feedback, is_new=True)


async def is_known(work: Work, id: str) -> bool:
    """Whether there is a decision of this id, whoever's it is."""
    return await work.session.scalar(select(RoutingDecision.number).where(RoutingDecision.id == id)) is not None


def not_found() -> GatewayError:
    """There is no such decision, or none that the actor may tell of."""
    message = "There is no decision of this requestId."
    return GatewayError(Kind.NOT_FOUND, "decision_not_found", message, "requestId")


def quality_of(told: Told) -> tuple[float | None, float]:
    """How good the answer is taken to have been, and how much that counts; see :mod:`.observing`."""
    if not told.success:
        return 0.0, 1.0
    rating = None if told.satisfaction is None else (told.satisfaction - 1) / (_RATINGS - 1)
    parts = [value for value in (told.quality, rating) if value is not None]
    return (sum(parts) / len(parts), 1.0) if parts else (1.0, SUCCEEDED)


def accuracy(expected: float, actual: float) -> float:
    """100 where both are the same, 0 where one is nothing: percent, to a tenth."""
    largest = max(abs(expected), abs(actual))
    return 100.0 if not largest else round(100.0 * (1.0 - min(1.0, abs(expected - actual) / largest)), 1)


def _check(told: Told) -> None:
    text(told.id, "requestId")
    for field, name in ((told.provider, "actualProvider"), (told.model, "actualModel")):
        if field is not None:
            text(field, name)
    if told.cost_nanos is not None:
        amount(told.cost_nanos, "actualCost", most=_LARGEST_COST)
    if told.latency_ms is not None:
        amount(told.latency_ms, "actualLatency", most=_LONGEST_MS)
    if told.quality is not None and not 0.0 <= told.quality <= 1.0:
        raise invalid("actualQuality must be between 0 and 1.", "actualQuality")
    if told.satisfaction is not None:
        amount(told.satisfaction, "userSatisfaction", least=1, most=_RATINGS)


def _feedback(work: Work, row: RoutingDecision, told: Told, text_told: str) -> RoutingFeedback:
    estimates = estimates_of(row.estimates)
    provider, _, model = row.chosen.partition("/")
    chosen = next((each for each in estimates if each.target == row.chosen), estimates[0])
    target = _target(told, row.chosen, estimates)
    quality, weight = quality_of(told)
    cost, latency = told.cost_nanos, told.latency_ms
    return RoutingFeedback(
        id=row.id,
        organization=row.organization,
        at_ns=to_ns(work.now),
        target=target or "",
        quality=quality,
        weight=weight,
        cost_nanos=cost,
        latency_ms=latency,
        told=text_told,
        cost_accuracy=None if cost is None else accuracy(chosen.cost_nanos, cost),
        latency_accuracy=None if latency is None else accuracy(chosen.seconds * 1_000, latency),
        provider_match=told.provider is None or told.provider.casefold() == provider.casefold(),
        model_match=told.model is None or told.model.casefold() == model.casefold(),
        contributed=target is not None,
        waiting=target is not None,
    )


def _target(told: Told, chosen: str, estimates: tuple[Estimate, ...]) -> str | None:
    """The target that was used in fact, where it is one that something was expected of."""
    provider, _, model = chosen.partition("/")
    used = f"{told.provider or provider}/{told.model or model}".casefold()
    return next((each.target for each in estimates if each.target.casefold() == used), None)


def _sums(feedback: RoutingFeedback) -> dict[str, int]:
    cost, latency = feedback.cost_accuracy, feedback.latency_accuracy
    return {
        "tracked": 1,
        "costs": int(cost is not None),
        "cost_accuracy": round((cost or 0.0) * 1_000),
        "latencies": int(latency is not None),
        "latency_accuracy": round((latency or 0.0) * 1_000),
        "provider_matches": int(feedback.provider_match),
        "model_matches": int(feedback.model_match),
    }


def _accuracy(row: RoutingFeedback, *, is_new: bool) -> Accuracy:
    return Accuracy(
        row.cost_accuracy, row.latency_accuracy, row.provider_match, row.model_match, row.contributed, is_new
    )
