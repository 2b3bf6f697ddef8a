"""Usage that callers report of systems which do not pass through the gateway."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.contract.usage import Tokens
from gateway.domain.fields import LARGEST, amount, invalid, text
from gateway.domain.ledger import entering, repo
from gateway.domain.ledger.query import NewUsage, Recorded
from gateway.domain.ledger.rating import Rater
from gateway.domain.turns import take_turn
from gateway.domain.work import Work
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.ids import new_id

OUTCOMES = ("ok", "error", "cancelled", "cut", "cached", "refused")
_AHEAD = timedelta(days=1)  # clocks differ
_COUNTS = ("prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "reasoning_tokens")
# What makes two reports under one key the same.
_COMPARED = ("provider", "model", "started_ns", "ended_ns", *_COUNTS, "user", "outcome")


async def record(work: Work, rater: Rater, items: Sequence[NewUsage]) -> list[Recorded]:
    """See :meth:`gateway.domain.ledger.service.LedgerService.record`."""
    rows = [_row(work, rater, item, f"records[{index}]") for index, item in enumerate(items)]
    known: dict[tuple[str, str], Any] = await _known(work, rows)
    results, fresh = [], []
    for row in rows:
        key = (row["organization"], row["idempotency_key"] or "")
        before = known.get(key) if key[1] else None
        if before is not None:
            results.append(_same(before, row))
            continue
        if key[1]:
            known[key] = row
        fresh.append(row)
        results.append(Recorded(row["id"], True, row["cost_nanos"]))
    await rater.keep(work.session)
    await entering.enter(work.session, fresh)
    return results


async def _known(work: Work, rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str], Any]:
    keys: dict[str, set[str]] = {}
    for row in rows:
        if row["idempotency_key"]:
            keys.setdefault(row["organization"], set()).add(row["idempotency_key"])
    known: dict[tuple[str, str], Any] = {}
    for organization, some in sorted(keys.items()):
        # Two reports under one key at once: the second waits and finds the first's entry.
        await take_turn(work.session, f"usage {organization}")
        for key, entry in (await repo.by_keys(work.session, organization, sorted(some))).items():
            known[organization, key] = {name: getattr(entry, name) for name in ("id", "cost_nanos", *_COMPARED)}
    return known


def _same(before: dict[str, Any], row: dict[str, Any]) -> Recorded:
    if any(before[name] != row[name] for name in _COMPARED):
        message = "This idempotency key was used for another record."
        raise GatewayError(Kind.CONFLICT, "idempotency_key_reused", message, "idempotency_key")
    return Recorded(before["id"], False, before["cost_nanos"])


def _row(work: Work, rater: Rater, item: NewUsage, at: str) -> dict[str, Any]:
    _check(item, work.now, at)
    cost, parts, price, currency = item.cost_nanos, None, None, "USD"
    if cost is None:
        tokens = Tokens(
            prompt=item.prompt_tokens, cached=item.cached_tokens, cache_write=item.cache_write_tokens,
            completion=item.completion_tokens, reasoning=item.reasoning_tokens,
        )  # fmt: skip
        rating = rater(item.provider, item.model, tokens, item.started_ns, item.organization)
        if rating is not None:
            cost, parts, price, currency = rating.cost_nanos, dict(rating.parts), rating.price_id, rating.currency
    row = entering.blank()
    for name in (
        "organization", "user", "credential", "app", "endpoint", "provider", "model", "started_ns", "first_token_ms",
        "status", "outcome", "stream", "idempotency_key", *_COUNTS,
    ):  # fmt: skip
        row[name] = getattr(item, name)
    row |= {
        "id": new_id("usage"), "kind": "external", "source": "api", "requested_model": item.model, "requests": 1,
        "ended_ns": item.started_ns + item.duration_ms * 1_000_000, "estimated": False, "saved_nanos": 0,
        "cost_nanos": cost, "cost_parts": parts, "price_id": price, "currency": None if cost is None else currency,
        "tags": item.tags or None, "metadata": item.metadata or None, "recorded_ns": _ns(work.now),
    }  # fmt: skip
    return row


def _check(item: NewUsage, now: datetime, at: str) -> None:
    text(item.organization, f"{at}.organization_id")
    text(item.provider, f"{at}.provider")
    text(item.model, f"{at}.model")
    for name in (*_COUNTS, "duration_ms", "started_ns"):
        amount(getattr(item, name), f"{at}.{name}", most=_ns(now + _AHEAD) if name == "started_ns" else LARGEST)
    if item.cost_nanos is not None:
        amount(item.cost_nanos, f"{at}.cost")
    if item.cached_tokens + item.cache_write_tokens > item.prompt_tokens:
        raise invalid("cached_tokens are part of prompt_tokens and can't be more.", f"{at}.cached_tokens")
    if item.reasoning_tokens > item.completion_tokens:
        raise invalid("reasoning_tokens are part of completion_tokens and can't be more.", f"{at}.reasoning_tokens")
    if item.outcome not in OUTCOMES:
        raise invalid(f"expected one of {', '.join(OUTCOMES)}.", f"{at}.outcome")


def _ns(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000
