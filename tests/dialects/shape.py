"""Compares an answer with a documented example: the same keys and the same JSON types, all the way down.

::

    same_shape(documented, answered)                          raises AssertionError naming every difference
    same_shape(…, free={"data[].changes.after"})              what is below may hold anything
    same_shape(…, nullable={"data.expires_at"})               null is an answer, too
    same_shape(…, more={""})                                  that object may hold further keys ("" is the whole answer)
    example("gatewayz", "GET", "/plans")                      the documented example: .request, .response

A documented whole number is answered by a whole number, any other number by a number; a documented time
(``2024-01-01T00:00:00Z``) by a time in the same format; a list by a list with at least one element, each like the
documented first one. A documented null says only that there may be nothing: there anything goes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z\Z")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
_NAMES = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", int: "a whole number", float: "a number"}


class Example(NamedTuple):
    """What a reference prints for one operation; None where it prints nothing."""

    request: Any
    response: Any


@cache
def _examples(reference: str) -> dict[tuple[str, str], Example]:
    found = json.loads(Path(__file__).with_name(reference).joinpath("examples.json").read_bytes())
    return {(item["method"], item["path"]): Example(item.get("request"), item.get("response")) for item in found}


def example(reference: str, method: str, path: str) -> Example:
    """The documented example of an operation, from ``<reference>/examples.json``. Raises ``KeyError``."""
    return _examples(reference)[method, path]


def same_shape(
    documented: Any,
    answered: Any,
    *,
    free: Collection[str] = (),
    nullable: Collection[str] = (),
    more: Collection[str] = (),
) -> None:
    """Raise AssertionError with every difference. Paths are like ``data[].created_at``."""
    found = differences(documented, answered, frozenset(free), frozenset(nullable), frozenset(more))
    assert not found, "\n".join(found)


def differences(
    documented: Any,
    answered: Any,
    free: Collection[str] = (),
    nullable: Collection[str] = (),
    more: Collection[str] = (),
    path: str = "",
) -> list[str]:
    """Every difference as a sentence."""
    where = path or "the answer"
    if documented is None or path in free or (answered is None and path in nullable):
        return []
    if not _same_type(documented, answered):
        return [f"{where}: expected {_NAMES[type(documented)]} such as {documented!r}, got {answered!r}"]
    if isinstance(documented, str):
        return [f"{where}: expected the format of {documented!r}, got {answered!r}"] * _other(documented, answered)
    if isinstance(documented, dict):
        return _of_objects(documented, answered, free, nullable, more, path)
    if isinstance(documented, list) and documented:
        if not answered:
            return [f"{where}: expected at least one element"]
        return [
            line for item in answered for line in differences(documented[0], item, free, nullable, more, f"{path}[]")
        ]
    return []


def _of_objects(
    documented: dict[str, Any],
    answered: dict[str, Any],
    free: Collection[str],
    nullable: Collection[str],
    more: Collection[str],
    path: str,
) -> list[str]:
    where = path or "the answer"
    missing, unknown = documented.keys() - answered.keys(), answered.keys() - documented.keys()
    lines = [f"{where}: {name} is missing" for name in sorted(missing)]
    if path not in more:
        lines += [f"{where}: {name} is not documented" for name in sorted(unknown)]
    for name in documented.keys() & answered.keys():
        below = f"{path}.{name}" if path else name
        lines += differences(documented[name], answered[name], free, nullable, more, below)
    return lines


def _same_type(documented: Any, answered: Any) -> bool:
    if isinstance(documented, bool) or isinstance(answered, bool):
        return isinstance(documented, bool) and isinstance(answered, bool)
    if isinstance(documented, float):
        return isinstance(answered, int | float)
    return type(documented) is type(answered)


def _other(documented: str, answered: str) -> bool:
    return any(pattern.match(documented) and not pattern.match(answered) for pattern in (_TIME, _DATE))
