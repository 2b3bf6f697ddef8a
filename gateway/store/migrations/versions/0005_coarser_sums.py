"""Sums by less than everything, and by tag; the entries that sums are of are counted."""

# ruff: noqa: S608 - the names in statements are of our own

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

DAY = 86_400
NS = 1_000_000_000
SIZES = {"usage_hours": 3_600, "usage_days": DAY}
EVERY = ("organization", "start", "provider", "model", "credential", "user", "outcome")
SUMS = (
    "requests", "prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "reasoning_tokens",
    "cost_nanos", "saved_nanos", "unpriced", "estimated", "streamed", "duration_ms", "first_token_ms", "first_tokens",
    "entries",
)  # fmt: skip
# What a table is by, and what it is a sum of.
LEVELS = {
    "_by_organization_model": (("organization", "start", "provider", "model", "outcome"), ""),
    "_by_credential": (("organization", "start", "credential", "user", "outcome"), ""),
    "_by_organization": (("start", "organization", "outcome"), "_by_organization_model"),
    "_by_model": (("start", "provider", "model", "outcome"), "_by_organization_model"),
    "_by_organization_tag": (("organization", "start", "tag", "provider", "model"), None),
    "_by_tag": (("start", "tag", "provider", "model"), "_by_organization_tag"),
}
LONGEST_TAG = 400


def upgrade() -> None:
    """Make the change, and fill the tables a day at a time."""
    for table in SIZES:
        op.add_column(table, sa.Column("entries", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    for suffix, (keys, _) in LEVELS.items():
        for table in SIZES:
            _create(table + suffix, keys)
    first, last = _days()
    for day in range(first, last, DAY):
        _count_entries(day)
        for suffix, (keys, source) in LEVELS.items():
            if source is None:
                _fill_tags(day)
            else:
                for table in SIZES:
                    _fill(table + suffix, keys, table + source, day)
    for table in SIZES:
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_index(batch_op.f(f"ix_{table}_start"))


def downgrade() -> None:
    """Undo it."""
    for table in SIZES:
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.create_index(batch_op.f(f"ix_{table}_start"), ["start"], unique=False)
        for suffix in LEVELS:
            op.drop_table(table + suffix)
        op.drop_column(table, "entries")


def _create(name: str, keys: tuple[str, ...]) -> None:
    numbers = [
        sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0") if name == "entries" else None)
        for name in SUMS
    ]
    columns = [
        sa.Column(key, sa.BigInteger() if key == "start" else sa.String(), autoincrement=False, nullable=False)
        for key in keys
    ]
    op.create_table(
        name, *columns, *numbers, sa.PrimaryKeyConstraint(*keys, name=op.f(f"pk_{name}")), sqlite_with_rowid=False
    )


def _days() -> tuple[int, int]:
    """The first day that there are sums of, and the one behind the last, in Unix seconds."""
    first, last = op.get_bind().execute(sa.text("SELECT min(start), max(start) FROM usage_days")).one()
    return (0, 0) if first is None else (int(first), int(last) + DAY)


def _count_entries(day: int) -> None:
    """Each request has an entry, and each correction. Of days whose entries are gone, only the requests are known."""
    bounds = {"day": day, "end": day + DAY}
    for table, size in SIZES.items():
        within = "start >= :day AND start < :end"
        _run(f"UPDATE {table} SET entries = requests WHERE {within}", **bounds)
        corrections = (
            f"SELECT organization, started_ns / {NS} / {size} * {size} AS start, coalesce(provider, '') AS provider,"
            " model, coalesce(credential, '') AS credential, coalesce(\"user\", '') AS \"user\", outcome,"
            " count(*) AS entries FROM ledger_entries WHERE corrects IS NOT NULL"
            " AND started_ns >= :day_ns AND started_ns < :end_ns GROUP BY 1, 2, 3, 4, 5, 6, 7"
        )
        same = " AND ".join(f'found."{name}" = {table}."{name}"' for name in EVERY)
        _run(
            f"UPDATE {table} SET entries = {table}.entries + found.entries FROM ({corrections}) AS found WHERE {same}",
            day_ns=day * NS,
            end_ns=(day + DAY) * NS,
        )


def _fill(table: str, keys: tuple[str, ...], source: str, day: int) -> None:
    _run(
        f"INSERT INTO {table} ({_quoted(keys)}, {_quoted(SUMS)}) SELECT {_quoted(keys)}, {_summed(SUMS)} FROM {source}"
        f" WHERE start >= :day AND start < :end GROUP BY {_quoted(keys)}",
        day=day,
        end=day + DAY,
    )


def _fill_tags(day: int) -> None:
    """From the entries; of a day whose entries are gone nothing is known of tags."""
    keys, _ = LEVELS["_by_organization_tag"]
    bounds = {"day_ns": day * NS, "end_ns": (day + DAY) * NS}
    query = "SELECT 1 FROM ledger_entries WHERE started_ns >= :day_ns AND started_ns < :end_ns LIMIT 1"
    is_known = _run(query, **bounds).scalar() is not None
    for table, size in SIZES.items():
        name = f"{table}_by_organization_tag"
        if not is_known:
            others = [f"'' AS {key}" if key == "tag" else key for key in keys]
            statement = (
                f"INSERT INTO {name} ({_quoted(keys)}, {_quoted(SUMS)}) SELECT {', '.join(others)}, {_summed(SUMS)}"
                f" FROM {table}_by_organization_model WHERE start >= :day AND start < :end"
                " GROUP BY organization, start, provider, model"
            )
            _run(statement, day=day, end=day + DAY)
        else:
            _run(_of_entries(name, size), **bounds)


def _of_entries(name: str, size: int) -> str:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    rows = "json_each(tags)" if is_sqlite else "LATERAL json_each_text(tags)"
    keys, _ = LEVELS["_by_organization_tag"]
    numbers = {
        "cost_nanos": "coalesce(cost_nanos, 0)",
        "unpriced": "CASE WHEN cost_nanos IS NULL THEN requests ELSE 0 END",
        "estimated": "CASE WHEN estimated THEN requests ELSE 0 END",
        "streamed": "CASE WHEN stream THEN requests ELSE 0 END",
        "duration_ms": "requests * ((ended_ns - started_ns) / 1000000)",
        "first_token_ms": "coalesce(requests * first_token_ms, 0)",
        "first_tokens": "CASE WHEN first_token_ms IS NULL THEN 0 ELSE requests END",
        "entries": "1",
    }
    summed = ", ".join(f"sum({numbers.get(name, name)})" for name in SUMS)
    tag = f"coalesce(substr(tag.key || coalesce(nullif(':' || tag.value, ':'), ''), 1, {LONGEST_TAG}), '')"
    return (
        f"INSERT INTO {name} ({_quoted(keys)}, {_quoted(SUMS)})"
        f" SELECT organization, started_ns / {NS} / {size} * {size}, {tag}, coalesce(provider, ''), model, {summed}"
        f" FROM ledger_entries LEFT JOIN {rows} AS tag ON 1 = 1"
        " WHERE started_ns >= :day_ns AND started_ns < :end_ns AND kind <> 'activity' GROUP BY 1, 2, 3, 4, 5"
    )


def _run(statement: str, **values: int) -> sa.CursorResult[tuple[int]]:
    return op.get_bind().execute(sa.text(statement), values)


def _quoted(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _summed(names: tuple[str, ...]) -> str:
    return ", ".join(f'sum("{name}")' for name in names)
