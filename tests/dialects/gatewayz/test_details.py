"""What the examples do not show: bounds, lifting, filters, repeats, races."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.actor import SYSTEM
from gateway.domain.credits.service import policy_of
from gateway.domain.policy.service import PolicyService
from gateway.kernel.money import to_nanos
from tests.dialects.conftest import Api
from tests.dialects.entered import called, stopped
from tests.dialects.gatewayz.test_rights import first_key, refused
from tests.support.counted import count


@pytest.mark.parametrize(
    ("environment", "prefix", "shown"),
    [("live", "gw_live_", "live"), ("test", "gw_test_", "test"), ("staging", "gw_staging_", "staging"),
     ("development", "gw_dev_", "development"), ("dev", "gw_dev_", "development")],
)  # fmt: skip
async def test_environments(api: Api, environment: str, prefix: str, shown: str) -> None:
    person = await api.person()
    made = (await person.http.post("/user/api-keys", json={"key_name": "a", "environment_tag": environment})).json()
    assert made["api_key"].startswith(prefix)
    assert made["environment_tag"] == shown


async def test_a_disabled_key_comes_back(api: Api) -> None:
    person = await api.person()
    made = (await person.http.post("/user/api-keys", json={"key_name": "a"})).json()
    number = (await person.http.get("/user/api-keys")).json()["data"][-1]["id"]
    key = await api.client(made["api_key"])
    assert (await person.http.put(f"/user/api-keys/{number}", json={"is_active": False})).status_code == 200
    refused(await key.get("/user/balance"), 401)
    assert (await person.http.get("/user/api-keys")).json()["data"][-1]["is_active"] is False
    assert (await person.http.put(f"/user/api-keys/{number}", json={"is_active": True})).status_code == 200
    assert (await key.get("/user/balance")).status_code == 200
    before, after = [(item.before, item.after) for item in await api.audited("auth.api_key.updated")]
    assert before == ({"status": "active"}, {"status": "disabled"})
    assert after == ({"status": "disabled"}, {"status": "active"})


async def test_what_is_not_sent_stays(api: Api) -> None:
    person = await api.person()
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    body = {"key_name": "a", "models": ["gpt-4"], "expires_at": until}
    await person.http.post("/user/api-keys", json=body)
    number = (await person.http.get("/user/api-keys")).json()["data"][-1]["id"]
    await person.http.put(f"/user/api-keys/{number}", json={"key_name": "b"})
    shown = (await person.http.get(f"/api/v1/auth/api-keys/{number}")).json()["data"]
    assert (shown["name"], shown["models"]) == ("b", ["gpt-4"])
    assert shown["expires_at"] is not None
    await person.http.put(f"/user/api-keys/{number}", json={"models": [], "expires_at": None})
    shown = (await person.http.get(f"/api/v1/auth/api-keys/{number}")).json()["data"]
    assert (shown["name"], shown["models"], shown["expires_at"]) == ("b", [], None)


async def test_of_two_who_delete_a_key_one_has(every_api: Api) -> None:
    person = await every_api.person()
    await person.http.post("/user/api-keys", json={"key_name": "a"})
    number = (await person.http.get("/user/api-keys")).json()["data"][-1]["id"]
    answers = await asyncio.gather(*(person.http.delete(f"/user/api-keys/{number}") for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] + [404] * 5
    assert len(await every_api.audited("auth.api_key.revoked")) == 1
    refused(await person.http.put(f"/user/api-keys/{number}", json={"key_name": "b"}), 409)


async def test_many_keys_are_listed_by_pages(api: Api) -> None:
    person = await api.person()
    for index in range(4):
        await person.http.post("/user/api-keys", json={"key_name": f"key {index}"})
    pages = [(await person.http.get(f"/user/api-keys?limit=2&offset={at}")).json() for at in (0, 2, 4)]
    assert [page["count"] for page in pages] == [2, 2, 1]
    names = [item["key_name"] for page in pages for item in page["data"]]
    assert names == ["of the test", "key 0", "key 1", "key 2", "key 3"]


async def test_an_account_is_opened_whole_or_not_at_all(every_api: Api) -> None:
    http = every_api.master
    assert (await http.post("/admin/create", json={"email": "a@example.com"})).json()["username"] == "a@example.com"
    refused(await http.post("/admin/create", json={"email": "A@Example.com"}), 409)
    refused(await http.post("/admin/create", json={"email": "b@example.com", "plan": "none such"}), 404)
    refused(await http.post("/admin/create", json={"email": "no address"}), 400)
    refused(await http.post("/admin/create", json={"email": "c@example.com", "password": "short"}), 400)
    assert (await http.get("/roles")).json()["total"] == 1
    assert len(await every_api.audited("credits.added")) == 1
    racing = (http.post("/admin/create", json={"email": "race@example.com"}) for _ in range(4))
    answers = await asyncio.gather(*racing)
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert len(await every_api.audited("credits.added")) == 2


async def test_a_member_of_an_organization_spends_its_money(api: Api) -> None:
    organization = await api.organization()
    body = {"email": "a@example.com", "organization_id": organization}
    assert (await api.master.post("/admin/create", json=body)).json()["credits"] == 0.0
    refused(await api.master.post("/admin/create", json=body | {"email": "b@x.y", "organization_id": "nowhere"}), 404)


async def test_credits_by_number_and_by_id(api: Api) -> None:
    person = await api.person()
    for reference in (person.number, str(person.number), f"user_{person.number}", person.id, person.email):
        body = {"user_id": reference, "credits": 0.1}
        assert (await api.master.post("/admin/add_credits", json=body)).status_code == 200
    assert (await person.http.get("/user/balance")).json()["credits"] == 0.5
    refused(await api.master.post("/admin/add_credits", json={"user_id": 999, "credits": 1}), 404)
    for credits in (0, -1, 1e300, "5", True, None):
        refused(await api.master.post("/admin/add_credits", json={"user_id": person.id, "credits": credits}), 400)


async def test_credits_are_given_once_for_an_idempotency_key(every_api: Api) -> None:
    person = await every_api.person()
    body = {"user_id": person.number, "credits": 5.0, "reason": "once"}

    async def give(key: str, **change: object) -> int:
        headers = {"Idempotency-Key": key}
        answer = await every_api.master.post("/admin/add_credits", json=body | change, headers=headers)
        return answer.status_code

    assert await asyncio.gather(*(give("payment-1") for _ in range(8))) == [200] * 8
    assert (await person.http.get("/user/balance")).json()["credits"] == 5.0
    assert len(await every_api.audited("credits.added")) == 1
    assert await give("payment-1", credits=6.0) == 409
    assert await give("payment-2") == 200
    assert (await person.http.get("/user/balance")).json()["credits"] == 10.0
    assert await give("") == 400
    assert await give("x" * 201) == 400


async def test_all_credits_of_many_at_once_count(every_api: Api) -> None:
    person = await every_api.person()
    give = (
        every_api.master.post("/admin/add_credits", json={"user_id": person.id, "credits": 0.25}) for _ in range(12)
    )
    assert {answer.status_code for answer in await asyncio.gather(*give)} == {200}
    assert (await person.http.get("/user/balance")).json()["credits"] == 3.0


async def test_limits_are_lifted_and_what_is_left_out_stays(api: Api) -> None:
    person = await api.person()
    http, path = api.master, f"/admin/rate-limits/{person.number}"
    nothing = {"requests_per_minute": None, "requests_per_hour": None, "requests_per_day": None}
    assert (await http.get(path)).json()["rate_limits"] == nothing | {"custom_limits": {}}
    await http.post("/admin/rate-limits", json={"user_id": person.id, "requests_per_minute": 5, "requests_per_day": 9})
    body = {"user_id": f"user_{person.number}", "requests_per_minute": None, "custom_limits": {"gpt-4": 3}}
    answer = await http.post("/admin/rate-limits", json=body)
    assert answer.json()["rate_limits"] == nothing | {"requests_per_day": 9}
    found = (await http.get(path)).json()
    assert found["user_id"] == person.id
    assert found["rate_limits"]["custom_limits"] == {"gpt-4": 3}
    used = {"requests_this_minute": None, "requests_this_hour": 0, "requests_this_day": 0}
    assert found["current_usage"] == used
    await http.post("/admin/rate-limits", json={"user_id": person.id, "custom_limits": {"gpt-4": None}})
    assert (await http.get(path)).json()["rate_limits"]["custom_limits"] == {}


async def test_limits_that_cannot_be_kept_are_refused(api: Api) -> None:
    person = await api.person()

    async def detail(**asked: object) -> str:
        body = {"user_id": person.id, **asked}
        return refused(await api.master.post("/admin/rate-limits", json=body), 400)

    assert "custom_limits.chat_completions must be the name of a model: gpt-4" in await detail(
        custom_limits={"chat_completions": 50}
    )
    assert "must set at least one of requests_per_minute" in await detail()
    assert "requests_per_day: must be greater than or equal to 0" in await detail(requests_per_day=-1)
    assert "requests_per_day" in await detail(requests_per_day="many")
    assert "did you mean requests_per_day" in await detail(request_per_day=1)
    assert await api.audited("limit.created") == []


async def test_a_role_and_its_reason_are_written_down(api: Api) -> None:
    person = await api.person("a@example.com", "user", await api.organization())
    asked = {"role": "analyst", "reason": "Counts now"}
    await api.master.put(f"/roles/{person.number}", json=asked)
    (record,) = await api.audited("user.role_changed")
    assert (record.before, record.after, record.details) == (
        {"role": "user"}, {"role": "analyst"}, {"reason": "Counts now"}
    )  # fmt: skip
    assert (record.actor_id, record.address, record.user_agent) == ("master", "203.0.113.9", "tests")
    assert (
        "there is no role" in refused(await api.master.put(f"/roles/{person.id}", json={"role": "king"}), 400).lower()
    )
    refused(await api.master.get("/roles?role=king"), 400)


async def test_audit_filters(api: Api) -> None:
    person = await api.person()
    await person.http.post("/user/api-keys", json={"key_name": "a"})
    number = await first_key(person)
    await person.http.put(f"/user/api-keys/{number}", json={"key_name": "b"})

    async def total(**query: str | int) -> int:
        answer = await api.master.get("/admin/audit-logs", params=query)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["total"])

    everything = await total()
    assert await total(action="api_key_updated") == 1
    assert await total(action="auth.api_key.updated") == 1
    assert await total(action="api_key_updated", user_id=person.number) == 1
    assert await total(action="user_created", resource_type="user") == 1
    assert await total(resource_type="nothing") == 0
    today, tomorrow = datetime.now(UTC).date(), datetime.now(UTC).date() + timedelta(days=1)
    assert await total(start_date=tomorrow.isoformat()) == 0
    assert (
        await total(start_date=(today - timedelta(days=9000)).isoformat(), end_date=tomorrow.isoformat()) == everything
    )
    page = (await api.master.get("/admin/audit-logs?limit=1&offset=1")).json()
    assert (len(page["data"]), page["limit"], page["offset"], page["total"]) == (1, 1, 1, everything)
    refused(await api.master.get("/admin/audit-logs?start_date=2024-02-01&end_date=2024-01-01"), 400)
    refused(await api.master.get("/admin/audit-logs?start_date=yesterday"), 400)
    refused(await api.master.get("/admin/audit-logs?limit=1001"), 400)


async def test_what_is_used_is_told_as_the_data_plane_counts_it(api: Api, tmp_path: Path) -> None:
    person = await api.person()
    await api.master.post("/admin/add_credits", json={"user_id": person.id, "credits": 10})
    limits = {"user_id": person.id, "requests_per_minute": 5, "requests_per_day": 50}
    await api.master.post("/admin/rate-limits", json=limits)
    async with api.sidecar.works.read(SYSTEM) as work:
        held = await PolicyService(work).limits_of(person.organization, user=person.id)
    used = {("user", "day"): 7, ("organization", "total"): to_nanos("2.5")}
    for policy in held:
        count(tmp_path / "data", policy, used.get((policy.scope, policy.window or ""), 0))
    assert (await person.http.get("/user/balance")).json()["credits"] == 7.5
    answer = await api.master.post("/admin/add_credits", json={"user_id": person.id, "credits": 1})
    assert answer.json()["new_balance"] == 8.5
    found = (await api.master.get(f"/admin/rate-limits/{person.id}")).json()
    current = {"requests_this_minute": 0, "requests_this_hour": 0, "requests_this_day": 7}
    assert found["current_usage"] == current


async def test_what_no_limit_counts_is_told_by_the_ledger(every_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api, person = every_api, await every_api.person()
    now = stopped(api.sidecar.works, monkeypatch)
    mine: dict[str, Any] = {"user": person.id, "organization": person.organization}
    for number, days in enumerate((0, 0, 2)):
        await called(api.sidecar.store, now, "key_1", number, days=days, **mine)
    await called(api.sidecar.store, now, "key_2", 3, user="user_of_another")
    # Usage of another system is no request of theirs.
    reported = {"organization_id": person.organization, "provider": "openai", "model_id": "gpt-4", "input_tokens": 1,
                "output_tokens": 1, "total_tokens": 2, "metadata": {"user_id": person.id}}  # fmt: skip
    assert (await person.http.post("/api/v1/usage", json=reported)).status_code == 201
    found = (await api.master.get(f"/admin/rate-limits/{person.id}")).json()
    used = {"requests_this_minute": None, "requests_this_hour": 2, "requests_this_day": 2}
    assert found["current_usage"] == used
    assert (await api.master.get("/admin/monitor")).json()["system"]["total_requests"] == 5


async def test_more_is_used_than_was_given(api: Api, tmp_path: Path) -> None:
    person = await api.person()
    await api.master.post("/admin/add_credits", json={"user_id": person.id, "credits": 1})
    count(tmp_path / "data", policy_of(person.organization, to_nanos(1)), to_nanos(3))
    assert (await person.http.get("/user/balance")).json()["credits"] == 0.0


BAD: list[tuple[str, dict[str, object], str]] = [
    ("/admin/rate-limits", {"user_id": True, "requests_per_minute": 1}, "user_id: must be a number or a string"),
    ("/admin/rate-limits", {"user_id": 1.5, "requests_per_minute": 1}, "user_id: must be a number or a string"),
    ("/admin/rate-limits", {"user_id": 1, "requests_per_minute": 2**53}, "requests_per_minute: must be less than"),
    ("/admin/add_credits", {"user_id": None, "credits": 1}, "user_id: must be a number or a string"),
]


@pytest.mark.parametrize(("path", "body", "told"), BAD)
async def test_faults_are_told_by_the_wire_names(api: Api, path: str, body: dict[str, object], told: str) -> None:
    answer = await api.master.post(path, json=body)
    assert answer.status_code == 400
    assert told in answer.json()["detail"]
    assert "user_id.int" not in answer.text
