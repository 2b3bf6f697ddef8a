"""Revision 0005 fills its tables from what a ledger of before holds."""

from __future__ import annotations

from alembic import command
from sqlalchemy import Connection, text

from gateway.domain.actor import SYSTEM
from gateway.domain.ledger.levels import SUMS, TABLES
from gateway.domain.ledger.retention import forget_before
from gateway.domain.ledger.verification import verify
from gateway.store import migrate
from gateway.store.engine import Store
from tests.support.accounts import Accounts
from tests.support.usage import START
from tests.unit.domain.ledger.support import sums_of
from tests.unit.domain.ledger.test_levels import HOUR_NS, filled


def back_and_forth(connection: Connection) -> None:
    """To the revision before, and on again."""
    with connection.begin():
        command.downgrade(migrate.config_for(connection), "0004")
        assert not connection.execute(text("SELECT * FROM usage_days")).keys() & {"entries"}
        command.upgrade(migrate.config_for(connection), "head")


async def again(store: Store) -> None:
    async with store.engine.connect() as connection:
        await connection.run_sync(back_and_forth)


async def test_the_tables_are_filled_from_what_is_there(bare_database: str) -> None:
    store = Store.open(bare_database, "")
    await store.migrate()
    await filled(store)
    before = {table.name: await sums_of(store, table.name) for table in TABLES.values()}
    await again(store)
    assert {table.name: await sums_of(store, table.name) for table in TABLES.values()} == before
    async with Accounts(store).read(SYSTEM) as work:
        assert (await verify(work)).is_whole
    await store.close()


async def test_days_whose_entries_are_gone_keep_all_that_is_known(bare_database: str) -> None:
    store = Store.open(bare_database, "")
    await store.migrate()
    await filled(store)
    await forget_before(store, START + 24 * HOUR_NS)
    whole = await sums_of(store, "usage_days")
    await again(store)
    kept = {name: value for name, value in whole.items() if name != "entries"}  # corrections that are gone are unknown
    for table in TABLES.values():
        found = await sums_of(store, table.name)
        assert {name: found[name] for name in SUMS if name != "entries"} == kept, table.name
    async with store.reading() as session:
        tags = await session.scalars(text("SELECT DISTINCT tag FROM usage_days_by_tag"))
        assert list(tags) == [""]
    async with Accounts(store).read(SYSTEM) as work:
        assert (await verify(work)).is_whole
    await store.close()


async def test_a_ledger_without_entries_is_nothing_to_fill(bare_database: str) -> None:
    store = Store.open(bare_database, "")
    await store.migrate()
    await again(store)
    assert not any((await sums_of(store, "usage_days")).values())
    await store.close()
