"""Decisions on their way into the database: with their ledger entries, in the transaction that adds these."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Table, delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.contract.learned_routes import Decision, Estimate
from gateway.domain.learning.model import HOUR_KEYS, HOUR_SUMS, ROUTING_HOURS, RoutingDecision, RoutingFeedback
from gateway.domain.ledger.statements import insert_statements, run
from gateway.domain.turns import take_turn
from gateway.store.base import Base, fit
from gateway.store.engine import Store

ADVICE: Final = "/v1/ml/route"
"""The endpoint of events by which a decision was told and nothing was called."""
MOST_ESTIMATES: Final = 64
MILLION: Final = 1_000_000
_LARGEST: Final = 2**53
_HOUR: Final = 3_600
_LONGEST: Final = 200
CHUNK: Final = 2_000

_TABLE: Final = Base.metadata.tables[RoutingDecision.__tablename__]
_COLUMNS: Final = tuple(column.name for column in _TABLE.columns if column.name != "number")
_INSERT: Final = insert_statements(_TABLE, _COLUMNS)
_encode = msgspec.json.Encoder().encode
_estimates = msgspec.json.Decoder(tuple[Estimate, ...])


def _upserts(table: Table) -> dict[str, str]:
    sums = ", ".join(f'"{name}" = {table.name}."{name}" + excluded."{name}"' for name in HOUR_SUMS)
    keys = ", ".join(f'"{name}"' for name in HOUR_KEYS)
    return insert_statements(table, (*HOUR_KEYS, *HOUR_SUMS), f"ON CONFLICT ({keys}) DO UPDATE SET {sums}")


_UPSERT: Final = _upserts(ROUTING_HOURS)


async def keep(session: AsyncSession, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep the decisions of new entries, each a ledger's row with ``decision`` beside its columns. What can be no
    decision is left out: the entry counts all the same."""
    found = [row for row in map(_row, rows) if row is not None]
    if not found:
        return
    connection = await session.connection()
    await run(connection, _INSERT, [tuple(row[name] for name in _COLUMNS) for row in found])
    sums: dict[tuple[Any, ...], list[int]] = {}
    for row in found:
        add(sums, hour_key(row["organization"], row["started_ns"], row["credential"], row["chosen"]), _sums(row))
    await add_hours(session, sums)


def add(sums: dict[tuple[Any, ...], list[int]], key: tuple[Any, ...], numbers: Mapping[str, int]) -> None:
    """Add numbers by their names to sums by the keys of an hour."""
    known = sums.setdefault(key, [0] * len(HOUR_SUMS))
    for place, name in enumerate(HOUR_SUMS):
        known[place] += numbers.get(name, 0)


def hour_key(organization: str, started_ns: int, credential: str, target: str) -> tuple[str, int, str, str]:
    """The key of the sums that a decision is in."""
    second = started_ns // 1_000_000_000
    return organization, second - second % _HOUR, credential, target


async def add_hours(session: AsyncSession, sums: Mapping[tuple[Any, ...], list[int]]) -> None:
    """Add to the sums of hours."""
    # Everyone adds to some of the same rows: one after the other.
    await take_turn(session, "routing hours")
    await run(await session.connection(), _UPSERT, [(*key, *sums[key]) for key in sorted(sums)])


def estimates_of(text: str) -> tuple[Estimate, ...]:
    """The estimates of a decision, as they were kept."""
    return _estimates.decode(text)


async def forget_before(store: Store, until_ns: int, *, chunk: int = CHUNK) -> int:
    """Delete the oldest decisions that were made, and the oldest feedback that came, before ``until_ns``.

    At most ``chunk`` of each in one short transaction; gives the larger number. Sums of hours stay.
    """
    most = 0
    for table, at in ((RoutingDecision, RoutingDecision.started_ns), (RoutingFeedback, RoutingFeedback.at_ns)):
        async with store.writing() as session:
            oldest = select(table.number).where(at < until_ns).order_by(at).limit(chunk)
            numbers = list(await session.scalars(oldest))
            for start in range(0, len(numbers), 500):  # SQLite takes 999 parameters in its oldest builds
                await session.execute(delete(table).where(table.number.in_(numbers[start : start + 500])))
        most = max(most, len(numbers))
    return most


def _row(row: Mapping[str, Any]) -> dict[str, Any] | None:
    decision: Decision | None = row.get("decision")
    if decision is None:
        return None
    estimates = decision.estimates[:MOST_ESTIMATES]
    if not decision.chosen or not estimates or not all(map(_is_sound, estimates)):
        return None
    if not math.isfinite(decision.confidence):
        return None
    return {
        "id": row["id"],
        "organization": row["organization"],
        "credential": row["credential"] or "",
        "started_ns": row["started_ns"],
        "advised": row["endpoint"] == ADVICE,
        "chosen": fit(decision.chosen)[:_LONGEST],
        "task": fit(decision.task)[:_LONGEST],
        "goal": decision.goal,
        "confidence": min(max(decision.confidence, 0.0), 1.0),
        "explored": decision.explored,
        "shadow": decision.shadow,
        "fixed": decision.fixed,
        "estimates": _encode(estimates).decode(),
        "waiting": row["endpoint"] != ADVICE,
    }


def _is_sound(estimate: Estimate) -> bool:
    numbers = (estimate.quality, estimate.seconds, estimate.propensity, estimate.shift, estimate.length)
    return (
        len(estimate.target) <= _LONGEST
        and all(map(math.isfinite, numbers))
        and 0.0 <= estimate.quality <= 1.0
        and 0.0 <= estimate.propensity <= 1.0
        and estimate.seconds >= 0.0
        and 0 <= estimate.cost_nanos < _LARGEST
        and 0 <= estimate.tokens < _LARGEST
    )


def _sums(row: Mapping[str, Any]) -> dict[str, int]:
    estimates = estimates_of(row["estimates"])
    chosen = next((each for each in estimates if each.target == row["chosen"]), estimates[0])
    strongest = max(estimates, key=lambda each: (each.quality, -each.cost_nanos))
    acted = not row["shadow"]
    return {
        "decisions": 1,
        "advised": int(row["advised"]),
        "explored": int(row["explored"]),
        "shadow": int(row["shadow"]),
        "fixed": int(row["fixed"]),
        "confidence": round(row["confidence"] * MILLION),
        "cost_nanos": chosen.cost_nanos if acted else 0,
        "strongest_nanos": strongest.cost_nanos if acted else 0,
    }
