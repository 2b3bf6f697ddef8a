"""An organization's entries of one model are found in their index, without a look at those of its other models."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLE = "ledger_entries"
BEFORE = ["organization", "started_ns", "number"]
AFTER = [*BEFORE, "model"]


def upgrade() -> None:
    """Make the change."""
    _exchange(BEFORE, AFTER)


def downgrade() -> None:
    """Undo it."""
    _exchange(AFTER, BEFORE)


def _exchange(old: list[str], new: list[str]) -> None:
    with op.batch_alter_table(TABLE, schema=None) as batch_op:
        batch_op.drop_index(batch_op.f(f"ix_{TABLE}_{'_'.join(old)}"))
        batch_op.create_index(batch_op.f(f"ix_{TABLE}_{'_'.join(new)}"), new, unique=False)
