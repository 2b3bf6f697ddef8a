"""How an OpenAI-like API differs, by the data of its kind: parameters with another name, and those it does not take."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from gateway.providers import asking
from gateway.settings.kinds import ProviderKind

V = TypeVar("V")


def adapt(fields: dict[str, V], kind: ProviderKind) -> tuple[dict[str, V], tuple[str, ...]]:
    """The top level of a request as the kind takes it, and what it can't express. ``fields`` stays as it is; its
    values are parsed or :class:`msgspec.Raw`.
    """
    made = dict(fields)
    dropped = []
    for name in kind.unsupported:
        if name in made and asking.asks({name: _parsed(made.pop(name))}, name) is not None:
            dropped.append(name)
    for name, theirs in kind.renamed.items():
        if name in made:
            value = made.pop(name)
            made.setdefault(theirs, value)
    return made, tuple(dropped)


def _parsed(value: Any) -> Any:
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
