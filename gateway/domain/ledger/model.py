"""The tables of the ledger.

Times are Unix nanoseconds, durations milliseconds, money nano-dollars (10^-9 US dollars), counts tokens. All sums are
plain sums: an entry that takes another back (``reversal``) holds its numbers negated, at the same ``started_ns``. The
tables of sums are in :mod:`.levels`.
"""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import JSON, Index, text
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column

from gateway.domain.ledger.levels import TABLES
from gateway.store.base import Base, Number

__all__ = ["TABLES", "EntryKind", "LedgerEntry", "OutboxMark", "PoisonEntry", "Source"]

EntryKind = Literal["usage", "reversal", "adjustment", "external", "activity"]
Source = Literal["gateway", "api"]

_Json = JSON(none_as_null=True)
_KEYED = text("idempotency_key IS NOT NULL")


class LedgerEntry(Base):
    """What one request used and what it cost. Only ever appended to.

    An ``activity`` is what a caller told of themselves that is no request: all its numbers are 0, in no sum.

    ``id`` of a gateway's own request (kind ``usage``, source ``gateway``) is the ``x-request-id`` its client got.
    ``model`` is the one that answered at the provider, or the one asked for where none did; ``requested_model`` is what
    the caller asked for. ``requests`` is 1, or -1 in a reversal. ``cost_nanos`` None is unpriced: nobody knows a price.
    ``currency`` is that of the price; ``cost_nanos`` is in US dollars all the same. ``saved_nanos`` is what an answer
    from a cache would have cost. ``cost_parts`` is the cost by token kind. ``units`` is what else was counted, by the
    names of :data:`gateway.domain.ledger.rating.UNITS`, None where nothing was. ``corrects`` is the id of the entry
    that a reversal or an adjustment is about.
    """

    __tablename__ = "ledger_entries"
    __table_args__ = (
        # With what pages are filtered and sorted by, so that no entry is read only to be passed over.
        Index(
            "ix_ledger_entries_of_organization",
            "organization", "started_ns", "number", "kind", "model", "provider", "user", "credential", "cost_nanos",
        ),
        Index("ix_ledger_entries_in_time", "started_ns", "number", "kind", "cost_nanos"),
        Index(None, "provider", "model", "started_ns"),
        Index(
            "uq_ledger_entries_idempotency_key", "organization", "idempotency_key",
            unique=True, sqlite_where=_KEYED, postgresql_where=_KEYED,
        ),
        Index(
            "ix_ledger_entries_corrects", "corrects",
            sqlite_where=text("corrects IS NOT NULL"), postgresql_where=text("corrects IS NOT NULL"),
        ),
        Index(
            "ix_ledger_entries_activity", "organization", "user",
            sqlite_where=text("kind = 'activity'"), postgresql_where=text("kind = 'activity'"),
        ),
    )  # fmt: skip

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    source: Mapped[str]
    organization: Mapped[str]
    user: Mapped[str | None]
    credential: Mapped[str | None]
    app: Mapped[str | None]
    provider: Mapped[str | None]
    model: Mapped[str]
    requested_model: Mapped[str]
    endpoint: Mapped[str | None]
    started_ns: Mapped[int]
    ended_ns: Mapped[int]
    first_token_ms: Mapped[int | None]
    status: Mapped[int | None]
    outcome: Mapped[str]
    requests: Mapped[int]
    prompt_tokens: Mapped[int]
    cached_tokens: Mapped[int]
    cache_write_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    reasoning_tokens: Mapped[int]
    estimated: Mapped[bool]
    stream: Mapped[bool]
    cost_nanos: Mapped[int | None]
    saved_nanos: Mapped[int]
    currency: Mapped[str | None]
    price_id: Mapped[str | None]
    cost_parts: Mapped[dict[str, Any] | None] = mapped_column(_Json)
    tags: Mapped[dict[str, Any] | None] = mapped_column(_Json)
    attempts: Mapped[list[Any] | None] = mapped_column(_Json)
    details: Mapped[dict[str, Any] | None] = mapped_column("metadata", _Json)
    corrects: Mapped[str | None]
    idempotency_key: Mapped[str | None]
    recorded_ns: Mapped[int]
    units: Mapped[dict[str, int] | None] = mapped_column(_Json)

    @hybrid_property
    def total_tokens(self) -> int:
        """All tokens; cached ones are part of the prompt's, reasoning ones of the completion's."""
        return self.prompt_tokens + self.completion_tokens


class OutboxMark(Base):
    """How far a source of events is in the ledger, written in the same transaction as its entries.

    ``source`` is a node and a file's name; ``position`` is in bytes, ``events`` counts the lines that became entries.
    """

    __tablename__ = "outbox_marks"

    source: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int]
    events: Mapped[int]
    updated_ns: Mapped[int]


class PoisonEntry(Base):
    """A line that could not become an entry, kept with the reason until it is replayed."""

    __tablename__ = "poison_entries"
    __table_args__ = (Index(None, "source", "position", unique=True),)

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    source: Mapped[str]
    position: Mapped[int]
    line: Mapped[str]
    reason: Mapped[str]
    found_ns: Mapped[int]
