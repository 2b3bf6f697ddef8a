"""What the references' envelopes share: the table, times, amounts and the headers of refusals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from gateway.contract.envelopes.rates import rate_headers
from gateway.kernel.errors import GatewayError, Kind, LimitDetails, Upgrade
from gateway.kernel.money import to_dollars


class Rendered(NamedTuple):
    """An error ready to send: ``body`` is JSON, header names are in lower case."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]


class Table:
    """A reference's one error table: its status and word for each kind, and for the codes that have their own."""

    def __init__(
        self,
        kinds: Mapping[Kind, tuple[int, str]],
        codes: Mapping[str, tuple[int, str]] | None = None,
    ) -> None:
        missing = set(Kind) - set(kinds)
        if missing:
            raise ValueError(f"an error table lacks {sorted(kind.name for kind in missing)}")
        self.kinds = dict(kinds)
        self.codes = dict(codes or {})

    def find(self, error: GatewayError) -> tuple[int, str]:
        """Status and word."""
        return self.codes.get(error.code) or self.kinds[error.kind]


def timestamp(moment: datetime) -> str:
    """``2024-01-01T00:00:00Z``: UTC, whole seconds, as all references write it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def reset_time(details: LimitDetails) -> str | None:
    """When a limit begins anew, or None where it never does."""
    resets = details.resets_at
    if resets is None or not math.isfinite(resets):
        return None
    return timestamp(datetime.fromtimestamp(math.ceil(resets), UTC))


def amount(details: LimitDetails, value: int) -> int | float:
    """A value of a limit as an API shows it: a count, or dollars."""
    return to_dollars(value) if details.metric == "cost" else value


def upgrade_of(upgrade: Upgrade) -> dict[str, Any]:
    """A plan that allows more, its price in dollars."""
    price = None if upgrade.price is None else to_dollars(upgrade.price)
    return {"plan": upgrade.plan, "monthly_price": price, "benefits": list(upgrade.benefits)}


def upgrades(details: LimitDetails, shown: Callable[[Upgrade], dict[str, Any]] = upgrade_of) -> list[dict[str, Any]]:
    """The plans that allow more, each as the reference shows one."""
    return [shown(each) for each in details.upgrades]


def quota_of(details: LimitDetails) -> dict[str, Any]:
    """What a refusal by quota or credit tells where the reference has no shape of its own for it."""
    return {
        "usage": amount(details, details.used),
        "limit": amount(details, details.limit),
        "reset_date": reset_time(details),
        "upgrade_options": upgrades(details),
    }


def sentence(error: GatewayError) -> str:
    """The message, and each fault of the input, for envelopes that hold no more than a text."""
    if not error.invalid:
        return error.message
    return f"{error.message} {'; '.join(f'{fault.field}: {fault.message}' for fault in error.invalid)}"


def headers_of(error: GatewayError) -> dict[str, str]:
    """The headers of an error: how long to wait, the limit that refused, how to authenticate (RFC 9110 §11.6.1)."""
    details = error.details
    wait = error.retry_after  # not from the limit's reset: a request larger than the limit never gets through
    headers: dict[str, str] = {}
    if details is not None:
        lines = rate_headers(
            details.limit,
            details.remaining,
            details.resets_at,
            details.window,
            metric=details.metric,
            retry_after=wait,
        )
        headers |= {name.decode(): value.decode() for name, value in lines}
    elif wait is not None:
        headers["retry-after"] = str(seconds_to_wait(wait))
    if error.kind is Kind.UNAUTHENTICATED:
        headers["www-authenticate"] = 'Bearer realm="gateway"'
    return headers


def seconds_to_wait(wait: float) -> int:
    """Whole seconds for ``Retry-After``: rounded up, at least one."""
    return max(1, math.ceil(wait))
