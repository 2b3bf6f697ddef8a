"""Changing rows: what differs is set, and told as the audit log wants it."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from gateway.store.base import Base

LONGEST_NUMBER = 18  # digits a signed 64-bit number always holds


def change(row: Base, values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Set the columns that differ; gives their values before and after, both empty where nothing does.

    A value that is ``msgspec.UNSET`` was not given and is left as it is.
    """
    given = {name: value for name, value in values.items() if value is not UNSET}
    before = {name: getattr(row, name) for name, value in given.items() if getattr(row, name) != value}
    after = {name: given[name] for name in before}
    for name, value in after.items():
        setattr(row, name, value)
    return before, after


def number_of(reference: str | int, prefix: str = "") -> int | None:
    """The running number a reference means: ``12``, ``"12"``, with a prefix also ``"user_12"``. None for other text."""
    text = str(reference).removeprefix(prefix)
    if not (text.isascii() and text.isdecimal()) or len(text) > LONGEST_NUMBER:
        return None
    return int(text)
