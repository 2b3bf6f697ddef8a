"""Reading plain values of unknown shape: whatever is not what one looks for reads as empty."""

from __future__ import annotations

from typing import Any, TypeAlias

from gateway.settings.faults import Path

Item: TypeAlias = "dict[str, Any]"


def entries(value: object, path: Path) -> list[tuple[Path, Item]]:
    """The mappings of a list, each with its path."""
    return [((*path, index), item) for index, item in enumerate(as_list(value)) if isinstance(item, dict)]


def as_list(value: object) -> list[Any]:
    """The value if it is a list."""
    return value if isinstance(value, list) else []


def as_dict(value: object) -> Item:
    """The value if it is a mapping."""
    return value if isinstance(value, dict) else {}


def text_of(item: Item, name: str) -> str:
    """The text of one key."""
    value = item.get(name)
    return value if isinstance(value, str) else ""


def names_of(entries: list[tuple[Path, Item]]) -> list[str]:
    """The names of all entries."""
    return [text_of(item, "name") for _, item in entries]


def find_cycle(start: str, edges: dict[str, list[str]], done: set[str]) -> list[str] | None:
    """A cycle that can be reached from ``start`` over names not in ``done``, to which all reached names are added."""
    trail: list[str] = []
    pending: list[tuple[str, int]] = [(start, 0)]
    while pending:
        name, depth = pending.pop()
        del trail[depth:]
        if name in trail:
            return trail[trail.index(name) :]
        if name in done or name not in edges:
            continue
        done.add(name)
        trail.append(name)
        pending += [(other, depth + 1) for other in edges[name]]
    return None
