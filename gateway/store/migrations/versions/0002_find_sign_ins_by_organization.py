"""Find sign-ins by organization."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    with op.batch_alter_table("refresh_families", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_refresh_families_organization_id_updated_at"),
            ["organization_id", "updated_at"],
            unique=False,
        )


def downgrade() -> None:
    """Undo it."""
    with op.batch_alter_table("refresh_families", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_refresh_families_organization_id_updated_at"))
