"""What the ledger holds, read from its tables past the gateway's own code for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.store.engine import Store

_ENTRIES = (
    "SELECT id, kind, model, started_ns, status, outcome, requests, prompt_tokens, cached_tokens, completion_tokens, "
    "reasoning_tokens, estimated, cost_nanos, corrects, tags, attempts FROM ledger_entries ORDER BY number"
)
_AT_ANOTHER_PRICE = (
    "SELECT count(*) FROM ledger_entries AS entry WHERE kind = 'usage' AND model = :model AND cost_nanos > 0 "
    "AND cost_nanos <> prompt_tokens * :input + completion_tokens * :output AND NOT EXISTS "
    "(SELECT 1 FROM ledger_entries AS other WHERE other.corrects = entry.id)"
)
NUMBERS = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "cost_nanos")


class Entry(Struct):
    """A row of the ledger."""

    id: str
    kind: str
    model: str
    started_ns: int
    status: int | None
    outcome: str
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    estimated: bool
    cost_nanos: int | None
    corrects: str | None
    tags: dict[str, str]
    attempts: list[dict[str, Any]]

    @property
    def nonce(self) -> str:
        """The request that it is about, as its client named it."""
        return self.tags.get("nonce", "")


class Ledger:
    """The database of a deployment, for the duration of :func:`open_ledger`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def entries(self) -> list[Entry]:
        """Every row, in the order in which they were entered."""
        found = await self._session.execute(text(_ENTRIES))
        return [_entry(dict(row)) for row in found.mappings()]

    async def at_another_price(self, model: str, input: int, output: int) -> int:
        """How many entries of a model cost something else than by these nano-dollars a token and are not corrected."""
        query = text(_AT_ANOTHER_PRICE)
        return int(await self._session.scalar(query, {"model": model, "input": input, "output": output}) or 0)

    async def count_of(self, model: str) -> int:
        """How many entries a model has."""
        query = text("SELECT count(*) FROM ledger_entries WHERE model = :model")
        return int(await self._session.scalar(query, {"model": model}) or 0)

    async def count(self, until_ns: int) -> int:
        """How many entries are about requests that began before."""
        query = text("SELECT count(*) FROM ledger_entries WHERE started_ns < :until")
        return int(await self._session.scalar(query, {"until": until_ns}) or 0)

    async def sums(self, table: str, begin: int, end: int) -> dict[str, int]:
        """The sums in ``usage_hours`` or ``usage_days`` over what began between two times, in Unix seconds."""
        fields = ", ".join(f"CAST(sum({name}) AS BIGINT) AS {name}" for name in NUMBERS)
        query = text(f"SELECT {fields} FROM {table} WHERE start >= :begin AND start < :end")
        row = (await self._session.execute(query, {"begin": begin, "end": end})).mappings().one()
        return {name: int(row[name] or 0) for name in NUMBERS}

    async def poison(self) -> list[str]:
        """The lines that were set aside."""
        return list(await self._session.scalars(text("SELECT line FROM poison_entries ORDER BY number")))


@asynccontextmanager
async def open_ledger(database_url: str | None, data_dir: str) -> AsyncIterator[Ledger]:
    """The ledger as of one moment."""
    store = Store.open(database_url, data_dir)
    try:
        async with store.reading() as session:
            yield Ledger(session)
    finally:
        await store.close()


def _entry(row: dict[str, Any]) -> Entry:
    for name, empty in (("tags", {}), ("attempts", [])):
        value = row[name]
        row[name] = (orjson.loads(value) if isinstance(value, str) else value) or empty
    return Entry(**row | {"estimated": bool(row["estimated"])})
