"""Bringing a database's tables up to date with Alembic, by the scripts in ``migrations``."""

from __future__ import annotations

from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, text

_SCRIPTS = Path(__file__).parent / "migrations"
_LOCK = 0x6C6C_6D67  # any number of our own: "llmg"


def scripts() -> ScriptDirectory:
    """The shipped migrations."""
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return ScriptDirectory.from_config(config)


def upgrade(connection: Connection, metadata: MetaData | None = None) -> None:
    """Run what is missing, in one transaction. Only one process at a time: SQLite by its write lock, PostgreSQL by an
    advisory lock that ends with the transaction."""
    directory = scripts()
    with connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config = Config()
        environment = EnvironmentContext(
            config, directory, fn=lambda revision, _context: directory._upgrade_revs("head", revision)
        )
        with environment:
            environment.configure(connection=connection, target_metadata=metadata, transactional_ddl=False)
            environment.run_migrations()
