"""Decisions of learned routes, and what was learnt."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "routing_decisions",
        sa.Column("number", NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("organization", sa.String(), nullable=False),
        sa.Column("credential", sa.String(), nullable=False),
        sa.Column("started_ns", sa.BigInteger(), nullable=False),
        sa.Column("advised", sa.Boolean(), nullable=False),
        sa.Column("chosen", sa.String(), nullable=False),
        sa.Column("task", sa.String(), nullable=False),
        sa.Column("goal", sa.String(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("explored", sa.Boolean(), nullable=False),
        sa.Column("shadow", sa.Boolean(), nullable=False),
        sa.Column("fixed", sa.Boolean(), nullable=False),
        sa.Column("estimates", sa.String(), nullable=False),
        sa.Column("waiting", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_routing_decisions")),
        sa.UniqueConstraint("id", name=op.f("uq_routing_decisions_id")),
    )
    with op.batch_alter_table("routing_decisions", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_routing_decisions_organization_started_ns"), ["organization", "started_ns"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_routing_decisions_started_ns"), ["started_ns"], unique=False)
        batch_op.create_index(
            "ix_routing_decisions_waiting",
            ["organization", "number"],
            unique=False,
            sqlite_where=sa.text("waiting = 1"),
            postgresql_where=sa.text("waiting"),
        )

    op.create_table(
        "routing_feedback",
        sa.Column("number", NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("organization", sa.String(), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("quality", sa.Double(), nullable=True),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("cost_nanos", sa.BigInteger(), nullable=True),
        sa.Column("latency_ms", sa.BigInteger(), nullable=True),
        sa.Column("told", sa.String(), nullable=False),
        sa.Column("cost_accuracy", sa.Double(), nullable=True),
        sa.Column("latency_accuracy", sa.Double(), nullable=True),
        sa.Column("provider_match", sa.Boolean(), nullable=False),
        sa.Column("model_match", sa.Boolean(), nullable=False),
        sa.Column("contributed", sa.Boolean(), nullable=False),
        sa.Column("waiting", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_routing_feedback")),
        sa.UniqueConstraint("id", name=op.f("uq_routing_feedback_id")),
    )
    with op.batch_alter_table("routing_feedback", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_routing_feedback_at_ns"), ["at_ns"], unique=False)
        batch_op.create_index(
            "ix_routing_feedback_waiting",
            ["organization", "number"],
            unique=False,
            sqlite_where=sa.text("waiting = 1"),
            postgresql_where=sa.text("waiting"),
        )

    op.create_table(
        "routing_hours",
        sa.Column("organization", sa.String(), autoincrement=False, nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("credential", sa.String(), autoincrement=False, nullable=False),
        sa.Column("target", sa.String(), autoincrement=False, nullable=False),
        sa.Column("decisions", sa.BigInteger(), nullable=False),
        sa.Column("advised", sa.BigInteger(), nullable=False),
        sa.Column("explored", sa.BigInteger(), nullable=False),
        sa.Column("shadow", sa.BigInteger(), nullable=False),
        sa.Column("fixed", sa.BigInteger(), nullable=False),
        sa.Column("confidence", sa.BigInteger(), nullable=False),
        sa.Column("cost_nanos", sa.BigInteger(), nullable=False),
        sa.Column("strongest_nanos", sa.BigInteger(), nullable=False),
        sa.Column("tracked", sa.BigInteger(), nullable=False),
        sa.Column("costs", sa.BigInteger(), nullable=False),
        sa.Column("cost_accuracy", sa.BigInteger(), nullable=False),
        sa.Column("latencies", sa.BigInteger(), nullable=False),
        sa.Column("latency_accuracy", sa.BigInteger(), nullable=False),
        sa.Column("provider_matches", sa.BigInteger(), nullable=False),
        sa.Column("model_matches", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization", "start", "credential", "target", name=op.f("pk_routing_hours")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "routing_states",
        sa.Column("organization", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("told", sa.String(), nullable=False),
        sa.Column("told_ns", sa.BigInteger(), nullable=False),
        sa.Column("stale", sa.Boolean(), nullable=False),
        sa.Column("updated_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization", name=op.f("pk_routing_states")),
    )


def downgrade() -> None:
    """Undo it."""
    op.drop_table("routing_states")
    op.drop_table("routing_hours")
    with op.batch_alter_table("routing_feedback", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_routing_feedback_waiting", sqlite_where=sa.text("waiting = 1"), postgresql_where=sa.text("waiting")
        )
        batch_op.drop_index(batch_op.f("ix_routing_feedback_at_ns"))

    op.drop_table("routing_feedback")
    with op.batch_alter_table("routing_decisions", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_routing_decisions_waiting", sqlite_where=sa.text("waiting = 1"), postgresql_where=sa.text("waiting")
        )
        batch_op.drop_index(batch_op.f("ix_routing_decisions_started_ns"))
        batch_op.drop_index(batch_op.f("ix_routing_decisions_organization_started_ns"))

    op.drop_table("routing_decisions")
