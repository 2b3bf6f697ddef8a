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

from benchmarks.metering.filling import DAYS, ORGANIZATION, fill
from gateway.domain.actor import SYSTEM
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.users.requests import NewUser
from gateway.domain.users.service import UserService
from gateway.settings.model import Settings
from gateway.sidecar.app import create_app
from gateway.sidecar.parts import Sidecar, opened

MASTER = "gw_benchmark_master_key_of_queries"
PASSWORD = "a benchmark's password"
Ask = Callable[[], Awaitable[httpx.Response]]


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
            await fill(sidecar.store, entries, int(now.timestamp()))
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
