"""What is passed over on the way to a page of entries is passed over in an index."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLE = "ledger_entries"
BEFORE = {
    "ix_ledger_entries_organization_started_ns_number_model": ["organization", "started_ns", "number", "model"],
    "ix_ledger_entries_started_ns_number": ["started_ns", "number"],
}
AFTER = {
    "ix_ledger_entries_of_organization": [
        "organization", "started_ns", "number", "kind", "model", "provider", "user", "credential",
    ],
    "ix_ledger_entries_in_time": ["started_ns", "number", "kind"],
}  # fmt: skip


def upgrade() -> None:
    """Make the change."""
    _exchange(BEFORE, AFTER)


def downgrade() -> None:
    """Undo it."""
    _exchange(AFTER, BEFORE)


def _exchange(old: dict[str, list[str]], new: dict[str, list[str]]) -> None:
    for name in old:
        op.drop_index(name, TABLE)
    for name, columns in new.items():
        op.create_index(name, TABLE, columns, unique=False)
