"""What every table is built on: the declarative base and the column types that behave the same on both databases."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Integer, MetaData, String
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

# SQLite makes only INTEGER primary keys count by themselves; both hold 64 bits.
Number = BigInteger().with_variant(Integer, "sqlite")
"""A table's own running number: what an API shows where it documents an integer id."""


class UtcDateTime(TypeDecorator[datetime]):
    """An instant, aware and in UTC on both sides, stored to the microsecond."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time: it would mean another instant on another machine."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("expected an aware datetime")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the instant back as UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Text(TypeDecorator[str]):
    """Text of any length. What no database takes, NUL and halves of surrogate pairs, becomes U+FFFD on the way in.

    Nothing stored holds them, so a lookup by such a text finds nothing, as it should, instead of failing.
    """

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Replace what is unfit."""
        return None if value is None else fit(value)


_UNFIT = re.compile("[\0\ud800-\udfff]")


def fit(value: str) -> str:
    """The text as a database takes it."""
    return _UNFIT.sub("\ufffd", value)


class Base(DeclarativeBase):
    """Base of every table."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        int: BigInteger,
        str: Text,
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[str]: JSON,
    }
