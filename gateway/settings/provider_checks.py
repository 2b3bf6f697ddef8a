"""Checks of a provider's numbers that only make sense together."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.settings.faults import Finding, Path
from gateway.settings.view import Item, as_dict

Items = list[tuple[Path, Item]]


def check_concurrency(providers: Items) -> Iterator[Finding]:
    """Faults of ``concurrency``: bounds the wrong way round, and a beginning outside of them."""
    for path, item in providers:
        limit = as_dict(item.get("concurrency"))
        at = (*path, "concurrency")
        least, most, initial = (_count(limit, name) for name in ("min", "max", "initial"))
        if least is not None and most is not None and least > most:
            yield (*at, "min"), f"min is {least}, but max is only {most}", "set both to the same for a fixed number"
        elif initial is not None and most is not None and initial > most:
            yield (*at, "initial"), f"initial is {initial}, but max is only {most}", None
        elif initial is not None and least is not None and initial < least:
            yield (*at, "initial"), f"initial is {initial}, but min is {least}", None


def doubt_concurrency(providers: Items) -> Iterator[Finding]:
    """Limits on calls that others make useless."""
    for path, item in providers:
        limit = as_dict(item.get("concurrency"))
        most = _count(as_dict(item.get("connections")), "max")
        for name in ("min", "max"):
            count = _count(limit, name)
            if count is not None and most is not None and count > most:
                message = f"so many calls are never under way: connections.max of the provider is {most}"
                yield (*path, "concurrency", name), message, "raise connections.max, or lower this"
                break


def _count(item: Item, name: str) -> int | None:
    value = item.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
