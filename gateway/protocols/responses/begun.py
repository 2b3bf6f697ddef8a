"""The beginning of a Response that another has told its client, to be gone on with."""

from __future__ import annotations

from typing import NamedTuple

from gateway.protocols.base import Json


class BegunMessageItem(NamedTuple):
    """A message that is under way, with its id and the parts that are complete. ``text`` is that of the part under way;
    None where there is none.
    """

    id: str
    content: list[Json]
    text: str | None


class BegunResponse(NamedTuple):
    """What a client has of a Response: its id, when it was made (Unix seconds) and by which model, the number of the
    event that comes next, -1 where events are not numbered, the items that are complete, and the one that is not.
    """

    id: str | None
    created_at: int | float | None
    model: str | None
    next: int
    items: list[Json]
    open: BegunMessageItem | None
