"""The tables of learned routes.

Times are Unix nanoseconds, money nano-dollars, latencies milliseconds; qualities and confidences lie between 0 and 1.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Table, text
from sqlalchemy.orm import Mapped, mapped_column

from gateway.store.base import Base, Number, Text

_ONE, _WAITING = text("waiting = 1"), text("waiting")  # as each database spells the condition


class RoutingDecision(Base):
    """A decision of a learned route. ``id`` is that of its usage event and ledger entry.

    ``advised`` is one that was asked for by ``/v1/ml/route``: nothing was called. ``estimates`` is JSON, a list of
    :class:`gateway.contract.learned_routes.Estimate`. ``waiting`` until the ledger's entry has been learned from.
    """

    __tablename__ = "routing_decisions"
    __table_args__ = (
        Index(None, "organization", "started_ns"),
        Index(None, "started_ns"),
        Index("ix_routing_decisions_waiting", "organization", "number", sqlite_where=_ONE, postgresql_where=_WAITING),
    )

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    organization: Mapped[str]
    credential: Mapped[str]
    started_ns: Mapped[int]
    advised: Mapped[bool]
    chosen: Mapped[str]
    task: Mapped[str]
    goal: Mapped[str]
    confidence: Mapped[float]
    explored: Mapped[bool]
    shadow: Mapped[bool]
    fixed: Mapped[bool]
    estimates: Mapped[str]
    waiting: Mapped[bool]


class RoutingFeedback(Base):
    """What a client told came of a decision, once for each. ``id`` is the decision's, of which what is needed is held.

    ``target`` is the one that was used in fact, ``quality`` what the answer is taken to have been worth, None where
    nothing was told of it. ``cost_accuracy`` and ``latency_accuracy`` are percent.
    """

    __tablename__ = "routing_feedback"
    __table_args__ = (
        Index(None, "at_ns"),
        Index("ix_routing_feedback_waiting", "organization", "number", sqlite_where=_ONE, postgresql_where=_WAITING),
    )

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    organization: Mapped[str]
    at_ns: Mapped[int]
    target: Mapped[str]
    quality: Mapped[float | None]
    weight: Mapped[float]
    cost_nanos: Mapped[int | None]
    latency_ms: Mapped[int | None]
    told: Mapped[str]
    cost_accuracy: Mapped[float | None]
    latency_accuracy: Mapped[float | None]
    provider_match: Mapped[bool]
    model_match: Mapped[bool]
    contributed: Mapped[bool]
    waiting: Mapped[bool]


class RoutingState(Base):
    """What was learnt for an organization: ``state`` is JSON (:class:`gateway.routing.online.State`).

    ``told`` is what workers were told last, as JSON, and ``told_ns`` when. ``stale`` says that there is more to tell.
    """

    __tablename__ = "routing_states"

    organization: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    told: Mapped[str]
    told_ns: Mapped[int]
    stale: Mapped[bool]
    updated_ns: Mapped[int]


HOUR_KEYS = ("organization", "start", "credential", "target")
HOUR_SUMS = (
    "decisions", "advised", "explored", "shadow", "fixed", "confidence", "cost_nanos", "strongest_nanos",
    "tracked", "costs", "cost_accuracy", "latencies", "latency_accuracy", "provider_matches", "model_matches",
)  # fmt: skip

ROUTING_HOURS = Table(
    "routing_hours",
    Base.metadata,
    *(
        Column(name, BigInteger if name == "start" else Text, primary_key=True, autoincrement=False)
        for name in HOUR_KEYS
    ),
    *(Column(name, BigInteger, nullable=False) for name in HOUR_SUMS),
    sqlite_with_rowid=False,
)
"""Sums over the decisions of an hour (``start`` in Unix seconds) by the target chosen.

``confidence`` is in millionths, accuracies in thousandths of a percent. ``cost_nanos`` and ``strongest_nanos`` are what
the chosen target was expected to cost, and the one of the highest expected quality, where the choice was acted on.
"""
