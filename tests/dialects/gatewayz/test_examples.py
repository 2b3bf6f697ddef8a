"""Every documented example is answered with the documented fields and types."""

from __future__ import annotations

from typing import Any

import httpx

from tests.dialects.conftest import Api, Person
from tests.dialects.shape import example, same_shape


def documented(method: str, path: str, answer: httpx.Response, **differences: Any) -> Any:
    """The answer's body, which must look like the example."""
    assert answer.status_code == 200, answer.text
    same_shape(example("gatewayz", method, path).response, answer.json(), **differences)
    return answer.json()


async def account(api: Api, **more: Any) -> tuple[httpx.AsyncClient, dict[str, Any]]:
    """A new account as the reference opens one, and a client with its key."""
    asked = example("gatewayz", "POST", "/admin/create").request | more
    body = documented("POST", "/admin/create", await api.master.post("/admin/create", json=asked))
    return await api.client(body["api_key"]), body


async def test_accounts_are_opened_with_credits_and_a_key(every_api: Api) -> None:
    http, body = await account(every_api)
    assert body["credits"] == 10.0
    assert body["api_key"].startswith("gw_live_")
    balance = documented("GET", "/user/balance", await http.get("/user/balance"))
    assert balance["credits"] == 10.0
    assert balance["user_id"] == body["user_id"]
    assert body["api_key"] not in balance["api_key"]
    assert balance["api_key"].endswith(body["api_key"][-4:])


async def test_keys(every_api: Api) -> None:
    http, _ = await account(every_api)
    asked = example("gatewayz", "POST", "/user/api-keys").request
    made = documented("POST", "/user/api-keys", await http.post("/user/api-keys", json=asked))
    listed = documented("GET", "/user/api-keys", await http.get("/user/api-keys"))
    assert listed["count"] == 2
    row = listed["data"][-1]
    assert row["key_name"] == asked["key_name"]
    assert made["api_key"] not in str(listed)
    path = f"/user/api-keys/{row['id']}"
    change = example("gatewayz", "PUT", "/user/api-keys/{key_id}").request
    done = documented("PUT", "/user/api-keys/{key_id}", await http.put(path, json=change))
    assert done["message"] == "API key updated successfully"
    done = documented("DELETE", "/user/api-keys/{key_id}", await http.delete(path))
    assert done["message"] == "API key deleted successfully"
    assert (await http.get("/user/api-keys")).json()["count"] == 1
    refused = await (await every_api.client(made["api_key"])).get("/user/balance")
    assert refused.status_code == 401


async def test_plans(api: Api) -> None:
    listed = documented("GET", "/plans", await api.master.get("/plans"))
    free, pro = listed["data"][0], listed["data"][1]
    expected = example("gatewayz", "GET", "/plans").response["data"][0]
    assert free == expected | {"id": free["id"]}
    one = documented("GET", "/plans/{plan_id}", await api.master.get(f"/plans/{pro['id']}"))
    expected = example("gatewayz", "GET", "/plans/{plan_id}").response["plan"]
    assert one["plan"] == expected | {"id": pro["id"]}


async def test_the_plan_of_a_user(api: Api) -> None:
    http, _ = await account(api, plan="pro")
    found = documented("GET", "/user/plan", await http.get("/user/plan"), nullable={"plan.end_date"})
    assert found["plan"]["plan_name"] == "Pro"
    assert found["plan"]["status"] == "active"


async def test_credits_are_added(every_api: Api) -> None:
    _, body = await account(every_api)
    asked = example("gatewayz", "POST", "/admin/add_credits").request | {"user_id": body["user_id"]}
    answer = await every_api.master.post("/admin/add_credits", json=asked)
    assert documented("POST", "/admin/add_credits", answer)["new_balance"] == 60.0


async def test_monitor(api: Api) -> None:
    await api.person()
    body = documented("GET", "/admin/monitor", await api.master.get("/admin/monitor"))
    assert body["system"]["active_users"] == 1


async def test_ping(api: Api) -> None:
    documented("GET", "/ping", await api.anyone.get("/ping"))


async def test_roles(every_api: Api) -> None:
    user: Person = await every_api.person("user@example.com", "user", await every_api.organization())
    path = f"/roles/{user.id}"
    before = documented("GET", "/roles/{user_id}", await every_api.master.get(path))
    expected = example("gatewayz", "GET", "/roles/{user_id}").response
    assert (before["role"], before["permissions"]) == (expected["role"], expected["permissions"])
    asked = example("gatewayz", "PUT", "/roles/{user_id}").request
    changed = documented("PUT", "/roles/{user_id}", await every_api.master.put(path, json=asked))
    assert (changed["old_role"], changed["new_role"]) == ("user", "admin")
    listed = documented("GET", "/roles", await every_api.master.get("/roles?role=admin"))
    assert [item["user_id"] for item in listed["data"]] == [user.id]


async def test_rate_limits(every_api: Api) -> None:
    user = await every_api.person()
    asked = example("gatewayz", "POST", "/admin/rate-limits").request | {"user_id": user.id}
    answer = await every_api.master.post("/admin/rate-limits", json=asked)
    body = documented("POST", "/admin/rate-limits", answer)
    assert body["rate_limits"] == example("gatewayz", "POST", "/admin/rate-limits").response["rate_limits"]
    path = f"/admin/rate-limits/{user.id}"
    documented(
        "GET", "/admin/rate-limits/{user_id}", await every_api.master.get(path), free={"rate_limits.custom_limits"}
    )


async def test_audit_logs(every_api: Api) -> None:
    user = await every_api.person(role="owner")
    await user.http.post("/user/api-keys", json={"key_name": "Production Key"})
    found = documented(
        "GET",
        "/admin/audit-logs",
        await every_api.master.get("/admin/audit-logs", params={"action": "api_key_created", "user_id": user.id}),
        free={"data[].details"},
    )
    (record,) = found["data"]
    assert record["user_id"] == user.id
    assert record["details"]["name"] == "Production Key"
    assert (record["ip_address"], record["user_agent"]) == ("203.0.113.9", "tests")
