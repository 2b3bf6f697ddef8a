"""How fast the ledger is read: the documented operations over a generated ledger of 90 days, in SQLite.

::

    python -m benchmarks.metering.queries                          1,000,000 entries, about a minute
    python -m benchmarks.metering.queries --entries 10000000
    python -m benchmarks.metering.queries --folder ./kept          generated there once, read again the next time

Each operation is asked through the sidecar's application, by an organisation's key and by the master key. 50
organisations have 10 credentials each, which use 20 models between them.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from msgspec import convert

from gateway.domain.actor import SYSTEM
from gateway.domain.ledger.rollup import KEYS, SUMS
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.users.requests import NewUser
from gateway.domain.users.service import UserService
from gateway.settings.model import Settings
from gateway.sidecar.app import create_app
from gateway.sidecar.parts import Sidecar, opened

MASTER = "gw_benchmark_master_key_of_queries"
DAYS = 90
PASSWORD = "a benchmark's password"
ORGANIZATION = "org_00000000000000000000000007"
_ENTRIES = """
WITH RECURSIVE counted(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM counted WHERE n + 1 < :entries),
-- Kept, because each mention of it would be drawn anew otherwise.
drawn AS MATERIALIZED (SELECT n, abs(random()) AS r FROM counted)
INSERT INTO ledger_entries (
    id, kind, source, organization, "user", credential, provider, model, requested_model, endpoint, started_ns,
    ended_ns, first_token_ms, status, outcome, requests, prompt_tokens, cached_tokens, cache_write_tokens,
    completion_tokens, reasoning_tokens, estimated, stream, cost_nanos, saved_nanos, currency, price_id, cost_parts,
    tags, attempts, recorded_ns
)
SELECT
    printf('req_%026d', n), 'usage', 'gateway', printf('org_%026d', r % 500 % 50), printf('user_%026d', r % 500 % 200),
    printf('key_%026d', r % 500), 'provider-' || (r / 500 % 20 % 4), 'model-' || (r / 500 % 20),
    'model-' || (r / 500 % 20), 'chat.completions', :start + n * :step, :start + n * :step + 2000000000, 300, 200, 'ok',
    1, r / 7919 % 4000, r / 7919 % 1300, 0, r / 104729 % 900, 0, 0, r % 2, (r / 7919 % 4000) * 150, 0, 'USD', 'price_b',
    '{"input":1000}', '{"team":"t' || (r % 7) || '"}', '[{"provider":"p","status":200,"reason":"ok"}]',
    :start + n * :step
FROM drawn
"""
_SUMMED = """
INSERT INTO {table} ({keys}, {sums})
SELECT organization, started_ns / 1000000000 / {size} * {size} AS at, provider, model, credential, "user", outcome,
    sum(requests), sum(prompt_tokens), sum(cached_tokens), 0, sum(completion_tokens), 0, sum(cost_nanos), 0, 0, 0,
    sum(stream), sum(2000), sum(first_token_ms), count(*)
FROM ledger_entries GROUP BY organization, at, provider, model, credential, "user", outcome
"""

Ask = Callable[[], Awaitable[httpx.Response]]


def generate(database: Path, entries: int, now: datetime) -> None:
    """Fill an empty ledger, evenly over :data:`DAYS` until ``now``."""
    span = DAYS * 86_400 * 1_000_000_000
    start = int(now.timestamp()) * 1_000_000_000 - span
    quoted = ", ".join(f'"{name}"' for name in KEYS), ", ".join(SUMS)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA cache_size = -1000000")
        connection.execute(_ENTRIES, {"entries": entries, "start": start, "step": span // entries})
        for table, size in (("usage_days", 86_400), ("usage_hours", 3_600)):
            connection.execute(_SUMMED.format(table=table, size=size, keys=quoted[0], sums=quoted[1]))
        connection.commit()


async def measured(ask: Ask, times: int) -> tuple[float, float]:
    """The median and the 95th percentile, in milliseconds."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        answer = await ask()
        taken.append((time.perf_counter() - began) * 1_000)
        assert answer.status_code == 200, answer.text
    taken.sort()
    return taken[len(taken) // 2], taken[int(len(taken) * 0.95)]


def operations(http: httpx.AsyncClient, now: datetime) -> dict[str, Ask]:
    """What is measured, by name; the dates are drawn anew each time."""

    def get(path: str, **query: Any) -> Ask:
        return lambda: http.get(path, params=query)

    def within(path: str, days: int, **query: Any) -> Ask:
        async def ask() -> httpx.Response:
            start = now - timedelta(days=days, seconds=random.randrange(86_400))
            return await http.get(path, params={**query, "start_date": start.isoformat(), "end_date": now.isoformat()})

        return ask

    def deep(**query: Any) -> Ask:
        async def ask() -> httpx.Response:
            at = (now - timedelta(days=random.randrange(1, DAYS))).isoformat()
            first: dict[str, Any] = {"sort_by": "timestamp", "limit": 50, "end_date": at}
            return await http.get("/api/v1/usage/history", params=first | query)

        return ask

    found = {"summary": get("/api/v1/costs/summary")}
    for group in ("provider", "model", "day", "month"):
        found[f"costs by {group}, 90 days"] = within("/api/v1/costs", 89, group_by=group)
    found |= {
        "analytics by day, 30 days": within("/api/v1/analytics", 30, group_by="provider"),
        "analytics by day, 90 days": within("/api/v1/analytics", 89, group_by="provider,model"),
        "analytics by hour, 7 days": within("/api/v1/analytics", 7, interval="hour", group_by="model"),
        "costs by project, 7 days": within("/api/v1/costs", 7, group_by="project"),
        "history, first page": get("/api/v1/usage/history", limit=50),
        "history, anywhere": deep(),
        "history of a provider": deep(provider="provider-3"),
        "history of a model": deep(model_id="model-13"),
    }
    return found


async def walk(http: httpx.AsyncClient, pages: int) -> tuple[float, float]:
    """Pages one behind the other, by cursor."""
    cursor: dict[str, Any] = {"limit": 100}

    async def ask() -> httpx.Response:
        answer = await http.get("/api/v1/usage/history", params=cursor)
        following = answer.json()["pagination"]["next_cursor"]
        cursor.pop("cursor", None)  # behind the last page comes the first
        cursor.update({} if following is None else {"cursor": following})
        return answer

    return await measured(ask, pages)


async def run(folder: Path, entries: int, times: int) -> None:
    """Generate where there is nothing yet, ask, and print."""
    settings = convert({"data_dir": str(folder)}, Settings)
    async with opened(settings, MASTER) as sidecar:
        token = await _signed_in(sidecar)
        database, now = folder / "gateway.db", datetime.now(UTC)
        with closing(sqlite3.connect(database)) as connection:
            (known,) = connection.execute("SELECT max(number) FROM ledger_entries").fetchone()
        if known is None:
            began = time.perf_counter()
            await asyncio.to_thread(generate, database, entries, now)
            print(f"{entries:,} entries in {time.perf_counter() - began:.0f} s, {database.stat().st_size >> 20} MiB")
        app = create_app(sidecar)
        for title, secret in (("an organisation", token), ("everyone", MASTER)):
            transport, headers = httpx.ASGITransport(app), {"authorization": f"Bearer {secret}"}
            async with httpx.AsyncClient(transport=transport, base_url="http://sidecar", headers=headers) as http:
                print(f"\n{title:<28}{'p50 ms':>10}{'p95 ms':>10}")
                for name, ask in operations(http, now).items():
                    middle, most = await measured(ask, times)
                    print(f"{name:<28}{middle:>10.1f}{most:>10.1f}", flush=True)
                middle, most = await walk(http, times * 4)
                print(f"{'history, page after page':<28}{middle:>10.1f}{most:>10.1f}")


async def _signed_in(sidecar: Sidecar) -> str:
    email = f"{time.time_ns()}@bench.example"
    async with sidecar.works.begin(SYSTEM) as work:
        await OrganizationService(work).ensure(ORGANIZATION)
        new = NewUser(email=email, password=PASSWORD, organization=ORGANIZATION, role="owner")
        await UserService(work).create(new)
    return (await sidecar.sessions.sign_in(email, PASSWORD)).tokens.access_token


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=20, help="how often each operation is asked")
    parser.add_argument("--folder", type=Path, help="where the ledger is kept; one of the system's otherwise")
    asked = parser.parse_args()
    if asked.folder is not None:
        asyncio.run(run(asked.folder, asked.entries, asked.times))
        return
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder), asked.entries, asked.times))


if __name__ == "__main__":
    main()
