"""What a database says is told apart: about the lines, in passing, or about itself."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, StatementError

from gateway.domain.ledger.refusals import is_about_lines, is_passing
from gateway.store.engine import Store


class Told(Exception):
    def __init__(self, sqlstate: str) -> None:
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("state", "about_lines", "passing"),
    [
        ("22003", True, False),  # a number out of range
        ("23502", True, False),  # not null
        ("54000", True, False),  # too large
        ("40P01", False, True),  # deadlock
        ("40001", False, True),  # could not serialize
        ("53100", False, False),  # disk full
        ("57P01", False, False),  # shut down
        ("42P01", False, False),  # no such table: a newer or older gateway's
    ],
)
def test_by_state(state: str, about_lines: bool, passing: bool) -> None:
    error = DBAPIError("INSERT", {}, Told(state))
    assert (is_about_lines(error), is_passing(error)) == (about_lines, passing)


def test_without_a_state() -> None:
    assert is_about_lines(StatementError("a value of no type", "INSERT", {}, ValueError()))
    assert is_about_lines(OverflowError())
    assert not is_about_lines(OperationalError("INSERT", {}, ValueError("database is locked")))
    assert not is_about_lines(DBAPIError("INSERT", {}, ValueError(), connection_invalidated=True))
    assert is_passing(IntegrityError("INSERT", {}, ValueError()))


@pytest.mark.parametrize(
    "statement", ["INSERT INTO outbox_marks VALUES ('a', NULL, 0, 0)", "INSERT INTO outbox_marks VALUES ('b', 1, 0, 0)"]
)
async def test_as_the_databases_tell_it(store: Store, statement: str) -> None:
    async with store.writing() as session:
        await session.execute(text("INSERT INTO outbox_marks VALUES ('b', 1, 0, 0)"))

    async def refused() -> None:
        async with store.writing() as session:
            await session.execute(text(statement))

    with pytest.raises(StatementError) as caught:
        await asyncio.wait_for(refused(), 40)
    assert is_about_lines(caught.value)
