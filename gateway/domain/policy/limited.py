"""The limits and budgets that were set, for one or for many: what is read of them, and their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, CompoundSelect, String, and_, cast, literal, null, or_, select, union_all

from gateway.contract.policy import LimitPolicy
from gateway.domain.budgets.model import Budget
from gateway.domain.limits.model import Limit
from gateway.domain.limits.scopes import OWNED, SHARED

Numbered: TypeAlias = tuple[tuple[bool, int], LimitPolicy]
"""A limit with its place in the order."""
Whose: TypeAlias = Callable[[Any, str], ColumnElement[bool]]
"""Of a column of ids of a scope: the condition that it is one of those asked for."""


def limited(whose: Whose) -> CompoundSelect[Any]:
    """What was set for those that ``whose`` picks, and what all share.

    A row is a number, then the fields of a :class:`LimitPolicy` in their order.
    """
    none = cast(null(), String)
    limits = select(
        Limit.number, Limit.scope, Limit.scope_id, Limit.metric, Limit.limit,
        Limit.window, Limit.sliding, Limit.model, Limit.provider, literal("limit").label("source"),
        literal("").label("name"),
    ).where(or_(*_owned(Limit, whose), Limit.scope.in_(SHARED)))  # fmt: skip
    budgets = select(
        Budget.number, Budget.scope, Budget.scope_id, literal("cost"), Budget.amount_nanos,
        Budget.period, literal(value=False), none, none, literal("budget"), Budget.name,
    ).where(or_(*_owned(Budget, whose)))  # fmt: skip
    return union_all(limits, budgets)


def _owned(table: type[Limit] | type[Budget], whose: Whose) -> list[ColumnElement[bool]]:
    # One condition for each, so that each is found by the index.
    return [and_(table.scope == scope, whose(table.scope_id, scope)) for scope in OWNED]


def numbered(row: Any) -> Numbered:
    """A row of :func:`limited`."""
    policy = LimitPolicy(*row[1:])
    return (policy.source == "budget", row.number), policy


def in_order(found: Iterable[Numbered]) -> list[LimitPolicy]:
    """Limits as they were made, then budgets."""
    return [policy for _, policy in sorted(found, key=itemgetter(0))]
