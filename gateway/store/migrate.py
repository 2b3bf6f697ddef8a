"""Bringing a database's tables up to date with Alembic, by the scripts in ``migrations``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData, text

from gateway.kernel.errors import GatewayError, Kind

_SCRIPTS = Path(__file__).parent / "migrations"
_LOCK = 0x6C6C_6D67  # any number, as long as nobody else takes it


def config_for(connection: Connection | None = None, metadata: MetaData | None = None) -> Config:
    """Alembic's configuration for the shipped migrations. ``metadata`` is needed only to write new ones."""
    attributes: dict[str, Any] = {"connection": connection, "metadata": metadata}
    config = Config(attributes=attributes)
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config


def head() -> str:
    """The last shipped revision."""
    found = ScriptDirectory.from_config(config_for()).get_current_head()
    assert found is not None
    return found


def upgrade(connection: Connection) -> None:
    """Run what is missing, all of it or none.

    One process at a time: on SQLite by its write lock, on PostgreSQL by an advisory lock that ends with the
    transaction. Who waited finds nothing left to do.
    """
    with connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        try:
            command.upgrade(config_for(connection), "head")
        except CommandError as error:
            raise GatewayError(
                Kind.UNAVAILABLE, "database_unavailable", f"The database's tables can't be brought up to date: {error}"
            ) from None
