"""Batches of megabytes: entered part by part in one work, without being unfolded whole."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

from tests.dialects.conftest import Api, Person
from tests.dialects.llm_cost_ops.test_usage import BATCH, listed, record

_PART = 65_536  # bytes, as a server gives them


def large(person: Person, count: int, **more: Any) -> list[dict[str, Any]]:
    """Records of about 10 kB each."""
    notes = {f"note_{number}": "x" * 60 for number in range(130)}
    return [record(person, metadata={"number": number, **notes}, **more) for number in range(count)]


async def sent(person: Person, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    """The status of a batch, and what is answered."""

    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(body), _PART):
            yield body[start : start + _PART]

    headers = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    answer = await person.http.post(BATCH, content=parts(), headers=headers)
    return answer.status_code, answer.json()


async def test_every_record_has_its_result_and_the_audit_log_one_line(api: Api) -> None:
    owner = await api.person("owner@acme.com", role="owner")
    records: list[Any] = large(owner, 150)
    records[70] = {**records[70], "total_tokens": 1}
    records[100] = {**records[100], "metadata": {"text": "x" * 1_100_000}}
    status, told = await sent(owner, json.dumps({"records": records}).encode())
    assert status == 201
    assert (told["data"]["submitted"], told["data"]["failed"]) == (148, 2)
    results = told["data"]["results"]
    assert [item["index"] for item in results] == list(range(150))
    failed = {item["index"]: item["error"]["code"] for item in results if item["status"] == "failed"}
    assert failed == {70: "VALIDATION_ERROR", 100: "PAYLOAD_TOO_LARGE"}
    page = await listed(owner, limit=100)
    assert page["pagination"]["total_count"] == 148
    lines = await api.master.get("/api/v1/audit", params={"event_type": "usage.submitted"})
    assert [item["metadata"]["records"] for item in lines.json()["data"]] == [148]


async def test_a_key_of_a_batch_holds_over_its_parts(api: Api) -> None:
    owner = await api.person("owner@acme.com", role="owner")
    body = json.dumps({"records": large(owner, 80)}).encode()
    key = {"idempotency-key": "once"}
    first, again = [(await sent(owner, body, **key))[1]["data"]["results"] for _ in range(2)]
    assert first == again
    assert (await listed(owner))["pagination"]["total_count"] == 80


async def test_nothing_is_entered_of_a_body_that_breaks_in_a_later_part(api: Api) -> None:
    owner = await api.person("owner@acme.com", role="owner")
    body = json.dumps({"records": large(owner, 80)}).encode()
    broken = body[:-100] + b"\xff" + body[-99:]
    status, told = await sent(owner, broken)
    assert (status, told["error"]["code"]) == (400, "BAD_REQUEST")
    assert (await listed(owner))["pagination"]["total_count"] == 0


async def test_what_it_takes_is_little_more_than_the_body(api: Api) -> None:
    owner = await api.person("owner@acme.com", role="owner")
    await sent(owner, json.dumps({"records": large(owner, 30)}).encode())  # what is loaded with the first
    body = json.dumps({"records": large(owner, 600)}).encode()
    tracemalloc.start()
    try:
        status, _ = await sent(owner, body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert status == 201
    assert peak < 2 * len(body) + 4_000_000  # unfolded whole, it would be seven times the body
