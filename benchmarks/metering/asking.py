"""What a sidecar is asked while its memory is watched."""

from __future__ import annotations

import asyncio
import json
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec

from benchmarks.metering.ingest import event

LISTENED = (json.dumps({"action": "subscribe", "channels": ["costs:*", "usage:*"]}),)
_MODELS = (
    ("openai", "gpt-4o"), ("openai", "gpt-4o-mini"), ("openai", "o3"), ("anthropic", "claude-3-5-sonnet-latest"),
    ("anthropic", "claude-3-haiku-20240307"), ("google", "gemini-2.0-flash"), ("mistral", "mistral-large-latest"),
    ("cohere", "command-r"),
)  # fmt: skip
_ORGANIZATION = "default"
_HOUR = 3_600_000_000_000


def batch() -> bytes:
    """The largest that is taken: 1,000 records, of 10 kB each, 10 MB."""
    records = []
    for index in range(1_000):
        provider, model = _MODELS[index % len(_MODELS)]
        record: dict[str, Any] = {"organization_id": _ORGANIZATION, "provider": provider, "model_id": model}
        record |= {"input_tokens": 1_000 + index, "output_tokens": 200, "total_tokens": 1_200 + index}
        notes = {f"note_{number}": f"{index:06}-{number:04}-" + "x" * 43 for number in range(142)}
        record |= {"tags": [f"team:t{index % 7}"], "metadata": {"project": "benchmark", "notes": notes}}
        records.append(record)
    return json.dumps({"records": records}).encode()


async def batched(http: httpx.AsyncClient, body: bytes, times: int) -> None:
    """Send it, one after the other."""
    for _ in range(times):
        answer = await http.post("/api/v1/usage/batch", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 201, answer.text[:500]


async def events(http: httpx.AsyncClient, folder: Path, number: int, count: int) -> None:
    """Have as many events as a worker's file holds come in, until they are in the ledger."""
    before = await _entered(http)
    await asyncio.to_thread(_write, folder, number, count)
    while await _entered(http) < before + count:  # noqa: ASYNC110 - the sidecar tells it when it is asked
        await asyncio.sleep(0.1)


def _write(folder: Path, number: int, count: int) -> None:
    encoder = msgspec.json.Encoder()
    begin, step = time.time_ns() - _HOUR, _HOUR // max(1, count)
    with (folder / f"usage-0-{number:08}.jsonl").open("wb") as file:
        for index in range(count):
            made = event(begin + index * step)
            provider, model = random.choice(_MODELS)
            file.write(encoder.encode(msgspec.structs.replace(made, provider=provider, target=model)) + b"\n")


async def _entered(http: httpx.AsyncClient) -> int:
    answer = await http.get("/metrics")
    for line in answer.text.splitlines():
        if line.startswith("gateway_ingest_entries_total"):
            return int(float(line.rsplit(" ", 1)[1]))
    raise AssertionError(answer.text[:2_000])


async def prices(http: httpx.AsyncClient) -> None:
    """The whole list, page by page."""
    query: dict[str, Any] = {"limit": 100, "active_only": False}
    while True:
        answer = await http.get("/api/v1/pricing", params=query)
        assert answer.status_code == 200, answer.text
        following = answer.json()["pagination"]["next_cursor"]
        if following is None:
            return
        query["cursor"] = following


async def reads(http: httpx.AsyncClient, rounds: int) -> None:
    """Every documented list, from several clients at once."""
    for _ in range(rounds):
        await asyncio.gather(*(_read(http, *item) for item in _lists()))


async def _read(http: httpx.AsyncClient, path: str, query: dict[str, Any]) -> None:
    if path == "/api/v1/costs/query":
        answer = await http.post(path, json=query)
    else:
        answer = await http.get(path, params=query)
    assert answer.status_code == 200, f"{path} {query}: {answer.text[:500]}"


def _lists() -> list[tuple[str, dict[str, Any]]]:
    now = datetime.now(UTC)
    days: dict[str, Any] = {"start_date": (now - timedelta(days=89)).isoformat(), "end_date": now.isoformat()}
    found: list[tuple[str, dict[str, Any]]] = [
        ("/api/v1/costs", days | {"group_by": by, "limit": 100})
        for by in ("provider", "model", "day", "month", "project", "tag")
    ]
    found += [
        ("/api/v1/analytics", days | {"group_by": "provider,model", "interval": each}) for each in ("day", "week")
    ]
    for sort in ("timestamp", "total_tokens", "total_cost"):
        found.append(("/api/v1/usage/history", {"limit": 100, "sort_by": sort}))
    for page in (1, 20):
        found.append(("/api/v1/usage", {"page": page, "per_page": 100}))
    found += [
        ("/api/v1/costs/summary", {}),
        ("/api/v1/costs/query", {"filters": {"provider": {"in": ["openai", "google"]}}, "limit": 100}),
        ("/api/v1/audit", {"limit": 100}),
        ("/activity/history", {"limit": 100}),
        ("/activity/stats", {}),
        ("/admin/transaction-analytics", {}),
        ("/admin/audit-logs", {"limit": 100}),
        ("/admin/monitor", {}),
        ("/ranking/models", {}),
        ("/plans", {}),
        ("/roles", {}),
        ("/metrics", {}),
        ("/v1/tenants", {}),
    ]
    return found
