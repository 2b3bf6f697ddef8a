"""What this reference calls the numbers and dimensions of sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

from msgspec import structs

from gateway.domain.analytics.tags import Grouping
from gateway.domain.fields import invalid
from gateway.domain.ledger.query import Sums
from gateway.kernel.money import to_dollars

READ_NUMBERS = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "cost_nanos", "unpriced")
"""What is read of sums for any of the metrics."""
_numbers = attrgetter(*READ_NUMBERS)

DIMENSIONS: dict[str, Grouping] = {
    "provider": "provider",
    "model": "model",
    "organization": "organization",
    "project": "project",
    "tag": "tag",
    "user": "user",
    "api_key": "credential",
}


def tokens(sums: Sums) -> int:
    """All tokens."""
    return sums.prompt_tokens + sums.completion_tokens


def average_cost(sums: Sums) -> float:
    """Dollars a request, to the nano-dollar."""
    return to_dollars(round(sums.cost_nanos / sums.requests)) if sums.requests else 0.0


def average_tokens(sums: Sums) -> int:
    """Tokens a request, to the nearest whole one."""
    return round(tokens(sums) / sums.requests) if sums.requests else 0


METRICS: dict[str, Callable[[Sums], float | int]] = {
    "total_cost": lambda sums: to_dollars(sums.cost_nanos),
    "total_tokens": tokens,
    "total_requests": lambda sums: sums.requests,
    "request_count": lambda sums: sums.requests,
    "unpriced_requests": lambda sums: sums.unpriced,
    "average_cost_per_request": average_cost,
    "average_tokens_per_request": average_tokens,
    "input_tokens": lambda sums: sums.prompt_tokens,
    "output_tokens": lambda sums: sums.completion_tokens,
    "cached_tokens": lambda sums: sums.cached_tokens,
}


def told(sums: Sums, metrics: Iterable[str]) -> dict[str, float | int]:
    """The metrics by name."""
    return {name: METRICS[name](sums) for name in metrics}


def added(found: Iterable[Sums]) -> Sums:
    """All of them as one."""
    columns = zip(*map(_numbers, found), strict=True)
    return structs.replace(Sums(), **dict(zip(READ_NUMBERS, map(sum, columns), strict=False)))  # none where none is


def known(names: Sequence[str], of: Iterable[str], field: str) -> list[str]:
    """The names, each once. Raises INVALID for one that is none ``of`` these."""
    allowed = list(of)
    for name in names:
        if name not in allowed:
            raise invalid(f"{field} must be some of: {', '.join(allowed)}.", field)
    return list(dict.fromkeys(names))


def split(names: str) -> list[str]:
    """A list with commas."""
    return [name.strip() for name in names.split(",") if name.strip()]
