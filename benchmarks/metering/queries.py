"""How fast a filled ledger is read: the documented operations, through the sidecar's application.

::

    python -m benchmarks.metering.queries ./folder            a ledger that benchmarks.metering.filling has filled

Each operation is asked by an organisation's owner and by the master key, over and over with other dates. Times are told
as they pass, and as CPU time of the process, which hardly depends on what else the machine does. The result is a line
of JSON.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import httpx
import msgspec
from msgspec import Struct, convert

from benchmarks.metering.filling import DAYS, ORGANIZATION
from gateway.domain.actor import SYSTEM
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.users.requests import NewUser
from gateway.domain.users.service import UserService
from gateway.kernel.memory import collect_seldom
from gateway.settings.model import Settings
from gateway.sidecar.app import create_app
from gateway.sidecar.parts import Sidecar, opened

MASTER = "gw_benchmark_master_key_of_queries"
PASSWORD = "a benchmark's password"
HISTORY = "/api/v1/usage/history"

Ask = Callable[[], Awaitable[httpx.Response]]


class Times(Struct, frozen=True):
    """Milliseconds: the median and the 95th percentile as they passed, and of CPU time."""

    p50_ms: float
    p95_ms: float
    cpu_p50_ms: float
    cpu_p95_ms: float


class Read(Struct, frozen=True):
    """What reading took, by who asked and by operation, and the most the process held resident after signing in."""

    operations: dict[str, dict[str, Times]]
    peak_mb: float


async def measured(ask: Ask, times: int) -> Times:
    """Ask, once in vain and then ``times`` times."""
    passed, used = [], []
    for _ in range(times + 1):
        began, cpu = time.perf_counter(), time.process_time()
        answer = await ask()
        used.append((time.process_time() - cpu) * 1_000)
        passed.append((time.perf_counter() - began) * 1_000)
        assert answer.status_code == 200, answer.text
    passed, used = sorted(passed[1:]), sorted(used[1:])
    middle, most = times // 2, int(times * 0.95)
    return Times(passed[middle], passed[most], used[middle], used[most])


def operations(http: httpx.AsyncClient, now: datetime, entries: int) -> dict[str, Ask]:
    """What is measured, by name; the dates and pages are drawn anew each time. ``entries`` are the caller's."""

    def get(path: str, **query: Any) -> Ask:
        return lambda: http.get(path, params=query)

    def within(path: str, days: int, **query: Any) -> Ask:
        async def ask() -> httpx.Response:
            start = now - timedelta(days=days, seconds=random.randrange(86_400))
            return await http.get(path, params={**query, "start_date": start.isoformat(), "end_date": now.isoformat()})

        return ask

    def until(**query: Any) -> Ask:
        async def ask() -> httpx.Response:
            at = (now - timedelta(days=random.randrange(1, DAYS))).isoformat()
            return await http.get(HISTORY, params={"limit": 50, "end_date": at, **query})

        return ask

    def page(share: int) -> Ask:
        async def ask() -> httpx.Response:
            number = random.randrange(1, entries // 50 // share)
            return await http.get(HISTORY, params={"page": number, "per_page": 50})

        return ask

    found = {"summary": get("/api/v1/costs/summary")}
    for group in ("provider", "model", "organization", "project", "tag", "day", "week", "month"):
        found[f"costs by {group}, 90 days"] = within("/api/v1/costs", 89, group_by=group)
    found["costs by hour, 30 days"] = within("/api/v1/costs", 30, group_by="hour")
    analytics = "/api/v1/analytics"
    return found | {
        "analytics by day and provider, 30 days": within(analytics, 30, group_by="provider"),
        "analytics by day, provider, model, 90 days": within(analytics, 89, group_by="provider,model"),
        "analytics by week and key, 90 days": within(analytics, 89, interval="week", group_by="api_key"),
        "analytics by hour and model, 7 days": within(analytics, 7, interval="hour", group_by="model"),
        "history, first page": get(HISTORY, limit=50),
        "history, from any day": until(),
        "history of a provider": until(provider="provider-3"),
        "history of a model": until(model_id="model-13"),
        "history of a user": until(user_id="user_1107"),
        "history, any page by number": page(1),
        "history, page by page": _walk(http),
    }


def _walk(http: httpx.AsyncClient) -> Ask:
    """Pages one behind the other, by cursor, from the middle of the ledger on."""
    cursor: dict[str, Any] = {}

    async def ask() -> httpx.Response:
        begun = {"end_date": (datetime.now(UTC) - timedelta(days=DAYS // 2)).isoformat(), "limit": 100}
        if not cursor:
            cursor.update(begun)
        answer = await http.get(HISTORY, params=cursor)
        following = answer.json()["pagination"]["next_cursor"]
        cursor.pop("cursor", None)  # behind the last page comes the first
        cursor.update({} if following is None else {"cursor": following})
        return answer

    return ask


async def measure(database_url: str | None, folder: Path, times: int) -> Read:
    """Ask each operation ``times`` times."""
    told: dict[str, Any] = {"data_dir": str(folder)}
    settings = convert(told if database_url is None else told | {"database_url": database_url}, Settings)
    found: dict[str, dict[str, Times]] = {}
    collect_seldom()  # as a sidecar does
    async with opened(settings, MASTER) as sidecar:
        app, now = create_app(sidecar), datetime.now(UTC)
        for who, secret in (("organization", await _signed_in(sidecar)), ("master key", MASTER)):
            gc.collect()
            gc.freeze()  # as a sidecar does when it has started
            # Checking a password takes 64 MB for a moment, which has nothing to do with the ledger.
            await asyncio.to_thread(Path("/proc/self/clear_refs").write_text, "5")
            transport, headers = httpx.ASGITransport(app), {"authorization": f"Bearer {secret}"}
            async with httpx.AsyncClient(transport=transport, base_url="http://sidecar", headers=headers) as http:
                first = await http.get(HISTORY, params={"limit": 1})
                entries = first.json()["pagination"]["total_count"]
                asked = operations(http, now, entries)
                found[who] = {name: await measured(ask, times) for name, ask in asked.items()}
        peak = await asyncio.to_thread(_peak_mb)
    return Read(found, peak)


def _peak_mb() -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


async def _signed_in(sidecar: Sidecar) -> str:
    email = f"{time.time_ns()}@bench.example"
    async with sidecar.works.begin(SYSTEM) as work:
        await OrganizationService(work).ensure(ORGANIZATION)
        new = NewUser(email=email, password=PASSWORD, organization=ORGANIZATION, role="owner")
        await UserService(work).create(new)
    return (await sidecar.sessions.sign_in(email, PASSWORD)).tokens.access_token


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--times", default=40, show_default=True, help="How often each operation is asked.")
@click.option("--database-url")
def main(folder: Path, times: int, database_url: str | None) -> None:
    """Read the ledger of FOLDER, and print how long that took."""
    click.echo(msgspec.json.encode(asyncio.run(measure(database_url, folder, times))).decode())


if __name__ == "__main__":
    main()
