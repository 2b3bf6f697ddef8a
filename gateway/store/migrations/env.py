"""Alembic runs this for each of its commands. The connection, and the models' metadata where revisions are written by
comparison, are handed in by :mod:`gateway.store.migrate`."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes.get("metadata"),
    render_item=context.config.attributes.get("render_item"),
    render_as_batch=True,  # SQLite changes a column by copying the table
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
