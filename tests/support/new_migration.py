"""Writes a migration by comparing the shipped ones with the models: scripts/new-migration is the way to run it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from alembic import command
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import BigInteger, create_engine
from sqlalchemy.sql.type_api import TypeEngine

from gateway.store import base, migrate
from tests.support.postgres import import_models


def render_item(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Our column types as a migration writes them, which must not change when the types do."""
    if kind != "type":
        return False
    if isinstance(item, base.UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if isinstance(item, base.Text):
        return "sa.String()"
    return "NUMBER" if _is_number(item) else False


def _is_number(item: TypeEngine[Any]) -> bool:
    return isinstance(item, BigInteger) and "sqlite" in item._variant_mapping


def main(arguments: Iterable[str]) -> None:
    """Write the file into ``gateway/store/migrations/versions``."""
    revision, message = arguments
    import_models()
    with tempfile.TemporaryDirectory() as folder:
        engine = create_engine(f"sqlite:///{Path(folder)}/empty.db")
        with engine.connect() as connection:
            migrate.upgrade(connection)
            config = migrate.config_for(connection, base.Base.metadata)
            config.attributes["render_item"] = render_item
            command.revision(config, message, autogenerate=True, rev_id=revision)
        engine.dispose()


if __name__ == "__main__":
    main(sys.argv[1:])
