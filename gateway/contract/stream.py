"""The Redis stream that carries changes to data planes on several machines.

An entry's id is ``<seq>-0`` and its one field ``c`` is the :class:`~gateway.contract.policy.Change` as JSON. Ids grow,
so of several sidecars that publish the same change all but the first are refused by Redis.
"""

from __future__ import annotations

STREAM = "gateway:policy"
FIELD = "c"
KEPT = 100_000  # entries, roughly


def entry_id(seq: int) -> str:
    """The id of the entry of change ``seq``; Redis takes no entry 0-0."""
    return f"{seq}-0" if seq else "0-1"


def entry_seq(entry: bytes | str) -> int:
    """The number of the change of an entry."""
    text = entry.decode() if isinstance(entry, bytes) else entry
    return int(text.partition("-")[0])
