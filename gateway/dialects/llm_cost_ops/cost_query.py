"""``POST /api/v1/costs/query``: single costs by conditions ("Advanced Filtering"). ``costs:read``.

::

    {"filters": {"provider": {"in": ["openai", "azure"]}, "cost": {"gte": 10.0}, "tags": {"contains": "production"}}}

A plain value is ``eq``. ``contains`` is for tags alone; a list means all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, get_args

from msgspec import Struct, structs
from pydantic import Field, TypeAdapter

from gateway.dialects.common.models import Answer, Asked, EndMoment, Moment
from gateway.dialects.common.routing import make_router
from gateway.dialects.common.work import Reading
from gateway.dialects.llm_cost_ops.cost_records import CostRecord, cost_record
from gateway.dialects.llm_cost_ops.listing import Listing, Paging, listed
from gateway.domain.analytics.conditions import Condition, Operator
from gateway.domain.analytics.conditions import Field as Name
from gateway.domain.analytics.entries import COSTS
from gateway.domain.analytics.periods import to_ns
from gateway.domain.analytics.service import Reader
from gateway.domain.fields import LARGEST, invalid
from gateway.domain.ledger.query import Filter
from gateway.kernel.money import to_nanos

router = make_router()
_OPERATORS: tuple[str, ...] = get_args(Operator)
_ORDERED = frozenset({"eq", "ne", "in", "nin", "gt", "gte", "lt", "lte"})
_NAMED = frozenset({"eq", "ne", "in", "nin"})
_TAGGED = frozenset({"eq", "ne", "in", "nin", "contains"})
_MOST_VALUES = 100
_MOST_DOLLARS = 1_000_000_000
_FIRST: TypeAdapter[datetime] = TypeAdapter(Moment)
_LAST: TypeAdapter[datetime] = TypeAdapter(EndMoment)


class Wanted(Asked):
    """Which costs, and which page of them in which order; the latter as for lists by query."""

    filters: dict[str, Any] = Field(default_factory=dict, max_length=20)
    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(default=None, max_length=2_000)
    page: int | None = Field(default=None, ge=1, le=1_000_000_000)
    per_page: int | None = Field(default=None, ge=1, le=100)
    sort_by: str = Field(default="timestamp", max_length=200)
    order: str = Field(default="desc", max_length=200)


class CostRecords(Answer):
    """A page of single costs."""

    data: list[CostRecord]
    pagination: Paging


class _Known(Struct, frozen=True):
    """A field that may be filtered by: what the ledger calls it, what may be asked of it, how its values are read."""

    name: Name
    operators: frozenset[str]
    read: Callable[[Any, str, str], str | int]


@router.post("/api/v1/costs/query")
async def query(asked: Wanted, work: Reading) -> CostRecords:
    """Single costs that meet every condition, the newest first unless another order is asked for."""
    listing = Listing.model_validate(asked.model_dump(exclude={"filters"}, exclude_unset=True))
    wanted, more = split(conditions_of(asked.filters))
    found, page = await listed(Reader(work, "costs:read"), listing, wanted, more)
    return CostRecords(data=[cost_record(item.entry) for item in found], pagination=page)


def conditions_of(filters: dict[str, Any]) -> list[Condition]:
    """The conditions. Raises INVALID naming the field, such as ``filters.cost.gte``."""
    found = []
    for name, asked in filters.items():
        field = f"filters.{name}"
        known = _FIELDS.get(name)
        if known is None:
            raise invalid(f"{field} is not known; expected some of: {', '.join(_FIELDS)}.", field)
        for operator, value in asked.items() if isinstance(asked, dict) else [("eq", asked)]:
            found.append(
                _condition(known, operator, value, f"{field}.{operator}" if isinstance(asked, dict) else field)
            )
    return found


def split(conditions: list[Condition]) -> tuple[Filter, list[Condition]]:
    """Those that sums and indexes know as a filter, and the others."""
    wanted, more = Filter(kinds=COSTS), []
    for item in conditions:
        changes = dict(_as_filter(item, wanted))
        if changes:
            wanted = structs.replace(wanted, **changes)
        else:
            more.append(item)
    return wanted, more


def _as_filter(item: Condition, so_far: Filter) -> Iterator[tuple[str, Any]]:
    values = item.value if isinstance(item.value, tuple) else (item.value,)
    several = {"provider": "providers", "model": "models", "user": "users", "credential": "credentials"}
    if item.field in several and item.operator in ("eq", "in") and not getattr(so_far, several[item.field]):
        yield several[item.field], values
    elif item.field == "organization" and item.operator == "eq" and so_far.organization is None:
        yield "organization", item.value
    elif item.field == "started_ns" and isinstance(item.value, int):
        if item.operator in ("gt", "gte"):
            yield "from_ns", max(so_far.from_ns or 0, item.value + (item.operator == "gt"))
        elif item.operator in ("lt", "lte"):
            end = item.value + (item.operator == "lte")
            yield "until_ns", end if so_far.until_ns is None else min(so_far.until_ns, end)


def _condition(known: _Known, operator: Any, value: Any, field: str) -> Condition:
    if operator not in known.operators:
        allowed = ", ".join(name for name in _OPERATORS if name in known.operators)
        raise invalid(f"{field} is not known; expected some of: {allowed}.", field)
    if operator in ("in", "nin") or (operator == "contains" and isinstance(value, list)):
        if not isinstance(value, list) or not 1 <= len(value) <= _MOST_VALUES:
            raise invalid(f"{field} must be a list of 1 to {_MOST_VALUES} values.", field)
        return Condition(known.name, operator, tuple(known.read(item, operator, field) for item in value))
    return Condition(known.name, operator, known.read(value, operator, field))


def _text(value: Any, _operator: str, field: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 200:
        raise invalid(f"{field} must be a text of 1 to 200 characters.", field)
    return value


def _count(value: Any, _operator: str, field: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST:
        raise invalid(f"{field} must be a whole number that is not negative.", field)
    return value


def _money(value: Any, _operator: str, field: str) -> int:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= _MOST_DOLLARS:
        raise invalid(f"{field} must be a number of dollars.", field)
    return to_nanos(value)


def _time(value: Any, operator: str, field: str) -> int:
    try:
        # A date alone is its midnight, but after it and until it mean the day's end.
        return to_ns((_LAST if operator in ("lte", "gt") else _FIRST).validate_python(value))
    except ValueError:
        raise invalid(f"{field} must be a time in ISO 8601, such as 2025-11-01T00:00:00Z.", field) from None


_FIELDS: dict[str, _Known] = {
    "id": _Known("id", _NAMED, _text),
    "organization_id": _Known("organization", _NAMED, _text),
    "provider": _Known("provider", _NAMED, _text),
    "model_id": _Known("model", _NAMED, _text),
    "model": _Known("model", _NAMED, _text),
    "user_id": _Known("user", _NAMED, _text),
    "api_key_id": _Known("credential", _NAMED, _text),
    "endpoint": _Known("endpoint", _NAMED, _text),
    "project": _Known("project", _NAMED, _text),
    "tags": _Known("tags", _TAGGED, _text),
    "cost": _Known("cost_nanos", _ORDERED, _money),
    "total_cost": _Known("cost_nanos", _ORDERED, _money),
    "timestamp": _Known("started_ns", _ORDERED, _time),
    "created_at": _Known("recorded_ns", _ORDERED, _time),
    "total_tokens": _Known("total_tokens", _ORDERED, _count),
    "input_tokens": _Known("prompt_tokens", _ORDERED, _count),
    "output_tokens": _Known("completion_tokens", _ORDERED, _count),
    "cached_tokens": _Known("cached_tokens", _ORDERED, _count),
    "reasoning_tokens": _Known("reasoning_tokens", _ORDERED, _count),
}
