"""Bringing a database's tables up to date with Alembic, by the scripts in ``migrations``.

Alembic is loaded only where there is something to do: most starts find the tables as they should be.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, MetaData, inspect, text

from gateway.kernel.errors import GatewayError, Kind

if TYPE_CHECKING:
    from alembic.config import Config

_SCRIPTS = Path(__file__).parent / "migrations"
_LOCK = 0x6C6C_6D67  # any number, as long as nobody else takes it
_REVISION = re.compile(r"^(down_revision|revision)(?:: [^=]+)? = (?:None|[\"'](\w+)[\"'])$", re.MULTILINE)


def config_for(connection: Connection | None = None, metadata: MetaData | None = None) -> Config:
    """Alembic's configuration for the shipped migrations. ``metadata`` is needed only to write new ones."""
    # Loaded only where it is needed: see the module.
    from alembic.config import Config  # noqa: PLC0415

    attributes: dict[str, Any] = {"connection": connection, "metadata": metadata}
    config = Config(attributes=attributes)
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config


@cache
def head() -> str:
    """The last shipped revision: the one that no other follows."""
    named: dict[str, set[str]] = {"revision": set(), "down_revision": set()}
    for script in (_SCRIPTS / "versions").glob("*.py"):
        for name, revision in _REVISION.findall(script.read_text("utf-8")):
            named[name].add(revision)
    (last,) = named["revision"] - named["down_revision"]
    return last


def upgrade(connection: Connection) -> None:
    """Run what is missing, all of it or none.

    One process at a time: on SQLite by its write lock, on PostgreSQL by an advisory lock that ends with the
    transaction. Who waited finds nothing left to do.
    """
    with connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        if is_current(connection):
            return
        # Loaded only where it is needed: see the module.
        from alembic import command  # noqa: PLC0415
        from alembic.util import CommandError  # noqa: PLC0415

        try:
            command.upgrade(config_for(connection), "head")
        except CommandError as error:
            raise GatewayError(
                Kind.UNAVAILABLE, "database_unavailable", f"The database's tables can't be brought up to date: {error}"
            ) from None


def is_current(connection: Connection) -> bool:
    """Whether all that is shipped has been run."""
    if not inspect(connection).has_table("alembic_version"):
        return False
    return list(connection.scalars(text("SELECT version_num FROM alembic_version"))) == [head()]
