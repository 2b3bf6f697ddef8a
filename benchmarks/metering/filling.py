"""A ledger as it is after 90 days, put straight into its tables: its entries, then their sums.

50 organisations have 10 credentials each, which use 20 models of 4 providers between them; every entry has one of 7
tags. What an entry is follows from its number alone, so that it is the same ledger each time, in both databases.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import func, insert, literal_column, select, text, true
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.ledger import totals
from gateway.domain.ledger.levels import DAY, EVERY, HOUR, LEVELS, MODELS, MONDAY, OWN_TAGS, SUMS, WEEK, Level
from gateway.domain.ledger.model import LedgerEntry
from gateway.domain.ledger.query import Bucket, Dimension, Filter
from gateway.domain.ledger.rollup import SOURCES
from gateway.domain.ledger.tags import rows_of, spelt_in
from gateway.store.engine import Store

DAYS = 90
NS = 1_000_000_000
ORGANIZATION = "org_1007"
"""One of those that have entries."""
_BUCKETS: dict[int, Bucket] = {HOUR: "hour", DAY: "day"}

# Numbers that look drawn: what is left of squares by a prime.
_ENTRIES = """
COUNTED,
drawn AS (SELECT n, (n * n * 31 + n * 48271 + 7) % 2147483647 AS r FROM counted),
chosen AS (SELECT n, r, r % 500 AS caller, r / 500 % 20 AS model, r / 10007 % 4000 AS prompt FROM drawn)
INSERT INTO ledger_entries (
    id, kind, source, organization, "user", credential, provider, model, requested_model, endpoint, started_ns,
    ended_ns, first_token_ms, status, outcome, requests, prompt_tokens, cached_tokens, cache_write_tokens,
    completion_tokens, reasoning_tokens, estimated, stream, cost_nanos, saved_nanos, currency, price_id, cost_parts,
    tags, attempts, recorded_ns
)
SELECT
    'req_' || (100000000000 + n), 'usage', 'gateway', 'org_' || (1000 + caller % 50), 'user_' || (1000 + caller % 200),
    'key_' || (1000 + caller), 'provider-' || (model % 4), 'model-' || model, 'model-' || model, 'chat.completions',
    :start + n * :step, :start + n * :step + 2000000000, 300, 200, 'ok', 1, prompt, prompt / 3, 0, r / 104729 % 900, 0,
    r < 0, r % 2 = 1, prompt * 150, 0, 'USD', 'price_b', CAST('{"input":' || (prompt * 150) || '}' AS JSON_TYPE),
    CAST('{"team":"t' || (r % 7) || '"}' AS JSON_TYPE),
    CAST('[{"provider":"p","status": 200,"reason":"ok"}]' AS JSON_TYPE), :start + n * :step
FROM chosen
"""
_DIALECTS = {
    "sqlite": (
        "WITH RECURSIVE counted(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM counted WHERE n + 1 < :behind)",
        "text",
    ),
    "postgresql": (
        "WITH counted AS (SELECT generate_series(CAST(:first AS bigint), CAST(:behind AS bigint) - 1) AS n)",
        "json",
    ),
}
_BY: tuple[Dimension, ...] = ("organization", "provider", "model", "credential", "user", "outcome")


async def count(store: Store) -> int:
    """How many entries there are, by the sums."""
    days = MODELS.table(DAY).c
    async with store.reading() as session:
        return int(await session.scalar(select(func.sum(days.entries))) or 0)


async def fill(store: Store, entries: int, until: int, say: Callable[[str], None] = lambda _: None) -> None:
    """Put in ``entries``, evenly over :data:`DAYS` until Unix second ``until``, into a ledger that has none."""
    counted, json_type = _DIALECTS[store.engine.dialect.name]
    statement = text(_ENTRIES.replace("COUNTED", counted).replace("JSON_TYPE", json_type))
    start, step = (until - DAYS * DAY) * NS, DAYS * DAY * NS // entries
    for part in range(DAYS):
        first, behind = entries * part // DAYS, entries * (part + 1) // DAYS
        async with store.writing() as session:
            if store.is_sqlite:
                await session.execute(text("PRAGMA cache_size = -200000"))
            values = {"first": first, "behind": behind, "start": start, "step": step}
            await session.execute(statement, values)
        if (part + 1) % 5 == 0:
            say(f"{behind:,} entries")
    say("their sums")
    first_day = start // NS // DAY * DAY
    for day in range(first_day, until + 1, DAY):
        async with store.writing() as session:
            await _sum(session, day, is_sqlite=store.is_sqlite)
    for level in LEVELS:
        if WEEK in level.sizes:
            async with store.writing() as session:
                await _sum_weeks(session, level)
    if not store.is_sqlite:
        # What autovacuum has done on the way, where the entries of 90 days came one by one.
        async with store.engine.connect() as connection:
            await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(text("VACUUM ANALYZE"))


async def _sum(session: AsyncSession, day: int, *, is_sqlite: bool) -> None:
    """Fill the sums of a day and of its hours."""
    within = Filter(from_ns=day * NS, until_ns=(day + DAY) * NS)
    tag = rows_of(is_sqlite=is_sqlite)
    for size, bucket in _BUCKETS.items():
        query = totals.of_entries(within, totals.columns_of(_BY), bucket, SUMS)
        await session.execute(insert(EVERY.table(size)).from_select([*_BY, "start", *SUMS], query))
        columns = [*totals.columns_of(_BY[:3]), spelt_in(tag)]
        query = totals.of_entries(within, columns, bucket, SUMS)
        query = query.select_from(LedgerEntry.__table__.outerjoin(tag, true()))
        await session.execute(insert(OWN_TAGS.table(size)).from_select([*_BY[:3], "tag", "start", *SUMS], query))
        for level, source in SOURCES:
            table = source.table(size)
            keys = [table.c[name] for name in level.keys]
            query = select(*keys, *(func.sum(table.c[name]) for name in SUMS)).group_by(*keys)
            query = query.where(table.c.start >= day, table.c.start < day + DAY)
            await session.execute(insert(level.table(size)).from_select([*level.keys, *SUMS], query))


async def _sum_weeks(session: AsyncSession, level: Level) -> None:
    """Fill the sums of weeks from those of days."""
    days = level.table(DAY).c
    week = days.start - (days.start - literal_column(str(MONDAY))) % literal_column(str(WEEK))
    keys = [week if name == "start" else days[name] for name in level.keys]
    query = select(*keys, *(func.sum(days[name]) for name in SUMS)).group_by(*keys)
    await session.execute(insert(level.table(WEEK)).from_select([*level.keys, *SUMS], query))
