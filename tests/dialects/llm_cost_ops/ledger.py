"""A small ledger with known sums, reported through the API."""

from __future__ import annotations

from typing import Any

from tests.dialects.conftest import Api, Person

PRICE = {"input_price_per_1k": 1.0, "output_price_per_1k": 2.0, "currency": "USD",
         "effective_date": "2020-01-01T00:00:00Z"}  # fmt: skip
# provider, model, time, input, output, project, tags; at 1 dollar a thousand in and 2 out.
ROWS: list[tuple[str, str, str, int, int, str | None, list[str]]] = [
    ("openai", "one", "2025-11-03T00:00:00Z", 1000, 500, "shop", ["production", "team:search"]),
    ("openai", "one", "2025-11-03T23:59:59Z", 2000, 0, "shop", []),
    ("openai", "two", "2025-11-05T12:30:00Z", 500, 500, None, ["production"]),
    ("anthropic", "one", "2025-11-10T06:00:00Z", 4000, 1000, "blog", ["team:ads"]),
    ("anthropic", "none", "2025-12-01T00:00:00Z", 100, 100, None, []),
]
COSTS = [2.0, 2.0, 1.5, 6.0, None]


async def filled(api: Api, role: str = "engineer") -> Person:
    """An organisation with :data:`ROWS`; nobody knows the price of the model ``none``."""
    person = await api.person(f"{role}@ledger.example", role)
    writer = await api.person("writer@ledger.example", "owner", person.organization)
    for provider, model in (("openai", "one"), ("openai", "two"), ("anthropic", "one")):
        made = await writer.http.post("/api/v1/pricing", json=PRICE | {"provider": provider, "model_id": model})
        assert made.status_code == 201, made.text
    records: list[dict[str, Any]] = [
        {
            "organization_id": person.organization, "provider": provider, "model_id": model, "timestamp": at,
            "input_tokens": given, "output_tokens": made, "total_tokens": given + made, "tags": tags,
            "metadata": {} if project is None else {"project": project},
        }
        for provider, model, at, given, made, project, tags in ROWS
    ]  # fmt: skip
    answer = await writer.http.post("/api/v1/usage/batch", json={"records": records})
    assert answer.json()["data"]["submitted"] == len(ROWS), answer.text
    return person
