"""Whether a database refuses what it was given, or can't be used now."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

# Classes of SQLSTATE: bad data, broken constraints, too large; everything else is about the database.
_ABOUT_LINES = ("22", "23", "54")
_PASSING = ("40001", "40P01")  # could not be serialized, deadlock


def is_about_lines(error: Exception) -> bool:
    """Whether the same would be refused again, however often it is tried."""
    if state := _state(error):
        return state.startswith(_ABOUT_LINES)
    # SQLite has no states. What SQLAlchemy itself refuses did not reach the database.
    return not isinstance(error, OperationalError) and not (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )


def is_passing(error: Exception) -> bool:
    """Whether another transaction was in the way: the next try finds what that has entered."""
    return isinstance(error, IntegrityError) or _state(error) in _PASSING


def _state(error: Exception) -> str:
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")
