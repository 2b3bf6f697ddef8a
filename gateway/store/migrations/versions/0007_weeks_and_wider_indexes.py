"""What is passed over on the way to a page of entries is passed over in an index; sums by credential over weeks."""

# ruff: noqa: S608 - the names in statements are of our own

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ENTRIES = "ledger_entries"
BEFORE = {
    "ix_ledger_entries_organization_started_ns_number_model": ["organization", "started_ns", "number", "model"],
    "ix_ledger_entries_started_ns_number": ["started_ns", "number"],
}
AFTER = {
    "ix_ledger_entries_of_organization": [
        "organization", "started_ns", "number", "kind", "model", "provider", "user", "credential", "cost_nanos",
    ],
    "ix_ledger_entries_in_time": ["started_ns", "number", "kind", "cost_nanos"],
}  # fmt: skip

DAYS, WEEKS = "usage_days_by_credential", "usage_weeks_by_credential"
KEYS = ("organization", "start", "credential", "user", "outcome")
SUMS = (
    "requests", "prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "reasoning_tokens",
    "cost_nanos", "saved_nanos", "unpriced", "estimated", "streamed", "duration_ms", "first_token_ms", "first_tokens",
    "entries",
)  # fmt: skip
MONDAY = "start - (start - 345600) % 604800"


def upgrade() -> None:
    """Make the change."""
    _exchange(BEFORE, AFTER)
    keys = [
        sa.Column(key, sa.BigInteger() if key == "start" else sa.String(), autoincrement=False, nullable=False)
        for key in KEYS
    ]
    numbers = [
        sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0") if name == "entries" else None)
        for name in SUMS
    ]
    op.create_table(
        WEEKS, *keys, *numbers, sa.PrimaryKeyConstraint(*KEYS, name=op.f(f"pk_{WEEKS}")), sqlite_with_rowid=False
    )
    columns = ", ".join(f'"{name}"' for name in (*KEYS, *SUMS))
    values = ", ".join(MONDAY if name == "start" else f'"{name}"' for name in KEYS)
    sums = ", ".join(f'sum("{name}")' for name in SUMS)
    op.execute(f"INSERT INTO {WEEKS} ({columns}) SELECT {values}, {sums} FROM {DAYS} GROUP BY 1, 2, 3, 4, 5")


def downgrade() -> None:
    """Undo it."""
    op.drop_table(WEEKS)
    _exchange(AFTER, BEFORE)


def _exchange(old: dict[str, list[str]], new: dict[str, list[str]]) -> None:
    for name in old:
        op.drop_index(name, ENTRIES)
    for name, columns in new.items():
        op.create_index(name, ENTRIES, columns, unique=False)
