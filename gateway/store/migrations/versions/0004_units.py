"""What an entry counts beside its tokens of text."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change: no row is written anew for it."""
    op.add_column("ledger_entries", sa.Column("units", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Undo it."""
    op.drop_column("ledger_entries", "units")
