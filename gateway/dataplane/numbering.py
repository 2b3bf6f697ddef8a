"""Numbers for what streams tell in lists that only grow.

OpenAI's own SDKs put a stream's deltas together, and demand an ``index`` of each entry of a list as soon as there is a
second delta of it.
"""

from __future__ import annotations

from typing import Final

from gateway.providers.base import Json

_GROWING: Final = frozenset(("thinking_blocks", "citations", "annotations"))


class Numbers:
    """Those of one stream."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next: dict[tuple[int, str], int] = {}

    def put(self, chunk: Json) -> None:
        """Number a chunk's entries, in place."""
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta")
            if not delta:
                continue
            for name in _GROWING & delta.keys():
                place = (choice.get("index") or 0, name)
                first = self._next.get(place, 0)
                delta[name] = [{**entry, "index": first + offset} for offset, entry in enumerate(delta[name])]
                self._next[place] = first + len(delta[name])
