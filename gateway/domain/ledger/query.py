"""What can be asked of the ledger: filters, orders and groups, and the sums that come back."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, structs

Dimension = Literal["organization", "provider", "model", "credential", "user", "outcome"]
Bucket = Literal["hour", "day", "week", "month"]
Sortable = Literal[
    "number", "started_ns", "ended_ns", "recorded_ns", "cost_nanos", "prompt_tokens", "completion_tokens",
    "total_tokens", "provider", "model", "id",
]  # fmt: skip


class Filter(Struct, frozen=True, kw_only=True):
    """Which entries are meant; None is any. ``from_ns`` is within, ``until_ns`` is not. Tuples mean any of them.

    ``kinds``, ``sources``, ``endpoints`` and ``tags`` are known of single entries alone, not of sums.
    """

    organization: str | None = None
    from_ns: int | None = None
    until_ns: int | None = None
    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    credentials: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()

    def within(self, organization: str) -> Filter:
        """The same of one organisation."""
        return structs.replace(self, organization=organization)

    def between(self, from_ns: int | None, until_ns: int | None) -> Filter:
        """The same of another span."""
        return structs.replace(self, from_ns=from_ns, until_ns=until_ns)


class Sort(Struct, frozen=True):
    """One field of an order. Unknown values sort as the least."""

    field: Sortable
    descending: bool = False


NEWEST_FIRST = (Sort("started_ns", descending=True),)


class Sums(Struct, gc=False):
    """Sums over some entries, in the units of :mod:`gateway.domain.ledger.model`.

    ``group`` has the value of each dimension asked for, in their order; "" where an entry had none. ``start`` is the
    bucket's beginning in Unix seconds (UTC; weeks begin on Monday), None without buckets. ``cost_nanos`` holds what is
    priced; ``unpriced`` counts the requests that are not. ``entries`` counts corrections too, each as one.
    """

    group: tuple[str, ...] = ()
    start: int | None = None
    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nanos: int = 0
    saved_nanos: int = 0
    unpriced: int = 0
    estimated: int = 0
    streamed: int = 0
    duration_ms: int = 0
    first_token_ms: int = 0
    first_tokens: int = 0
    entries: int = 0


class NewUsage(Struct, frozen=True, kw_only=True):
    """Usage that a caller reports of a system that does not pass through the gateway.

    ``cost_nanos`` None: the price in force at ``started_ns`` decides. ``idempotency_key`` is unique within the
    organisation. ``cached_tokens`` is part of ``prompt_tokens``, ``reasoning_tokens`` of ``completion_tokens``.
    """

    organization: str
    provider: str
    model: str
    started_ns: int
    duration_ms: int = 0
    first_token_ms: int | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nanos: int | None = None
    user: str | None = None
    credential: str | None = None
    app: str | None = None
    endpoint: str | None = None
    status: int | None = None
    outcome: str = "ok"
    stream: bool = False
    tags: dict[str, str] = {}
    metadata: dict[str, object] = {}
    idempotency_key: str | None = None


class Recorded(Struct, frozen=True):
    """What became of reported usage: the entry's id, and whether it is new or was there under its key before."""

    id: str
    is_new: bool
    cost_nanos: int | None
