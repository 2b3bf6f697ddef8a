"""The tables of sums: over hours and days, some over weeks, by as much as a question may need to know and no more.

What has few keys has few rows: a month of everybody's costs is read from some hundred of them, however many credentials
there are.
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct
from sqlalchemy import BigInteger, Column, Table, text

from gateway.store.base import Base, Text

HOUR = 3_600
DAY = 86_400
WEEK = 7 * DAY
MONDAY = 4 * DAY
"""When the first week began, in Unix seconds."""
SIZES = {HOUR: "hours", DAY: "days", WEEK: "weeks"}
"""Seconds of a bucket, and what its tables are named after."""

SUMS = (
    "requests", "prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "reasoning_tokens",
    "cost_nanos", "saved_nanos", "unpriced", "estimated", "streamed", "duration_ms", "first_token_ms", "first_tokens",
    "entries",
)  # fmt: skip


class Level(Struct, frozen=True):
    """What sums are told apart by: ``keys`` in the order of the primary key, ``start`` among them.

    ``sizes`` are those of its buckets, of :data:`SIZES`: there is a table for each.
    """

    suffix: str
    keys: tuple[str, ...]
    sizes: tuple[int, ...] = (HOUR, DAY)

    def table_name(self, size: int) -> str:
        """The name of the table over buckets of ``size`` seconds."""
        return f"usage_{SIZES[size]}{self.suffix}"

    def table(self, size: int) -> Table:
        """The table over buckets of ``size`` seconds."""
        return TABLES[self, size]

    def knows(self, names: Collection[str]) -> bool:
        """Whether it tells all of ``names`` apart."""
        return set(names) <= set(self.keys)


EVERY = Level("", ("organization", "start", "provider", "model", "credential", "user", "outcome"))
"""All that sums know, but for tags. The coarser ones are sums of these."""
OWN_MODELS = Level("_by_organization_model", ("organization", "start", "provider", "model", "outcome"))
CALLERS = Level("_by_credential", ("organization", "start", "credential", "user", "outcome"), (HOUR, DAY, WEEK))
"""With weeks: a quarter of everybody's credentials would be too many days."""
ORGANIZATIONS = Level("_by_organization", ("start", "organization", "outcome"))
MODELS = Level("_by_model", ("start", "provider", "model", "outcome"))
OWN_TAGS = Level("_by_organization_tag", ("organization", "start", "tag", "provider", "model"))
"""A request with several tags counts for each of them, one without any for the empty one."""
TAGS = Level("_by_tag", ("start", "tag", "provider", "model"))

LEVELS = (EVERY, OWN_TAGS, CALLERS, OWN_MODELS, TAGS, ORGANIZATIONS, MODELS)
"""The finest first."""
_OF_ONE = (OWN_MODELS, CALLERS, EVERY, OWN_TAGS)
_OF_ALL = (MODELS, ORGANIZATIONS, CALLERS, OWN_MODELS, EVERY, TAGS, OWN_TAGS)


def beginning(start: int, size: int) -> int:
    """When the bucket of ``size`` seconds began that Unix second ``start`` is in."""
    return start - (start - MONDAY) % size


def level_for(names: Collection[str], organization: str | None) -> Level | None:
    """The level with the fewest rows that tells ``names`` apart, of one organisation or of all; None for none."""
    needed = {*names} if organization is None else {*names, "organization"}
    levels = _OF_ALL if organization is None else _OF_ONE
    return next((level for level in levels if level.knows(needed)), None)


def _table(level: Level, size: int) -> Table:
    """Sums over the entries that started within an hour, a day or a week, in UTC; weeks begin on Monday.

    ``start`` is Unix seconds. What is None in an entry is the empty text here. ``unpriced`` and ``estimated`` count
    requests; ``duration_ms`` and ``first_token_ms`` are sums over the ``requests`` and the ``first_tokens``.
    ``entries`` counts corrections too, each as one.
    """
    keys: list[Column[object]] = [
        Column(name, BigInteger if name == "start" else Text, primary_key=True, autoincrement=False)
        for name in level.keys
    ]
    sums: list[Column[object]] = [
        Column(name, BigInteger, nullable=False, server_default=text("0") if name == "entries" else None)
        for name in SUMS
    ]
    return Table(level.table_name(size), Base.metadata, *keys, *sums, sqlite_with_rowid=False)


TABLES = {(level, size): _table(level, size) for level in LEVELS for size in level.sizes}
