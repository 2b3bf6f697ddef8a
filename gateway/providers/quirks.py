"""How an OpenAI-like API differs, by the data of its kind: parameters with another name, and those it does not take."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import msgspec

from gateway.providers import asking, media
from gateway.settings.kinds import ProviderKind

V = TypeVar("V")


def adapt(fields: dict[str, V], kind: ProviderKind) -> tuple[dict[str, V], tuple[str, ...]]:
    """The top level of a request as the kind takes it, and what it can't express. ``fields`` stays as it is; its
    values are parsed or :class:`msgspec.Raw`. Raises :class:`~gateway.kernel.errors.GatewayError` for a size that is
    none.
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
    for name, both in kind.split.items():
        if name in made:
            size = media.size_of({"size": _parsed(made.pop(name))})
            for theirs, pixels in zip(both, size or (), strict=False):
                made.setdefault(theirs, _as_given(pixels, fields))
    return made, tuple(dropped)


def _as_given(value: int, fields: dict[str, V]) -> V:
    """A value as the others of a request are, parsed or not."""
    is_raw = any(isinstance(each, msgspec.Raw) for each in fields.values())
    found: Any = msgspec.Raw(msgspec.json.encode(value)) if is_raw else value
    return cast("V", found)


def _parsed(value: Any) -> Any:
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
