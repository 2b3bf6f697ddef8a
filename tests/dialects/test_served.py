"""The whole of it: a real gateway's public port, its sidecar's Unix socket, and what one hands to the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.dialects.conftest import CONFIG
from tests.dialects.shape import example, same_shape
from tests.support.gateway import START_SECONDS, running_gateway
from tests.support.sidecar import running_sidecar

MASTER = "gw_test_master_key_of_the_served"


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of the public port with the master key."""
    folder: Path = tmp_path_factory.mktemp("served")
    config: dict[str, Any] = {
        "server": {"port": 0},
        "master_key": MASTER,
        "data_dir": str(folder / "data"),
        "providers": [{"name": "up", "kind": "openai", "base_url": "http://127.0.0.1:9/v1"}],
        "models": [{"name": "gpt-4", "targets": [{"provider": "up", "model": "gpt-4"}]}],
    }
    with (
        running_gateway(config, folder) as gateway,
        httpx.Client(base_url=gateway.root, headers={"authorization": f"Bearer {MASTER}"}, timeout=30) as client,
    ):
        _await_sidecar(client)
        yield client


def _await_sidecar(client: httpx.Client) -> None:
    """The gateway is ready for inference before its sidecar is: until then the rest is told to come again."""
    deadline = time.monotonic() + START_SECONDS
    while (answer := client.get("/plans")).status_code == 503:
        assert answer.headers["retry-after"]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_account_is_opened_and_used_through_the_public_port(http: httpx.Client) -> None:
    request, response = example("gatewayz", "POST", "/admin/create")
    made = http.post("/admin/create", json=request)
    assert made.status_code == 200, made.text
    same_shape(response, made.json())
    own = {"authorization": f"Bearer {made.json()['api_key']}"}
    same_shape(example("gatewayz", "GET", "/user/balance").response, http.get("/user/balance", headers=own).json())
    refused = http.get("/admin/monitor", headers=own)
    assert refused.status_code == 403
    assert refused.json()["status_code"] == 403


def test_the_audit_log_knows_the_client_of_the_public_port(http: httpx.Client) -> None:
    made = http.post("/api/v1/auth/api-keys", json={"name": "a"}, headers={"user-agent": "somebody"})
    assert made.status_code == 201, made.text
    found = http.get("/api/v1/audit", params={"event_type": "auth.api_key.created", "limit": 1}).json()["data"]
    assert (found[0]["resource_id"], found[0]["ip_address"]) == (made.json()["data"]["id"], "127.0.0.1")
    assert found[0]["user_agent"] == "somebody"
    assert found[0]["metadata"]["request_id"] == made.headers["x-request-id"]
    assert made.headers.get_list("x-request-id") == [made.headers["x-request-id"]]


def test_errors_come_in_the_envelope_of_the_owner(http: httpx.Client) -> None:
    nothing = http.get("/user/nothing")
    assert (nothing.status_code, nothing.json()["status_code"]) == (404, 404)
    other = http.get("/api/v1/nothing").json()
    assert other["error"]["code"] == "NOT_FOUND"
    keys = http.put("/api/v1/auth/api-keys", headers={"authorization": "Bearer sk_live_unknown"})
    assert keys.status_code in (401, 405)
    assert http.get("/internal/changes").status_code == 404


def test_ping_and_monitor(http: httpx.Client) -> None:
    same_shape(example("gatewayz", "GET", "/ping").response, http.get("/ping").json())
    same_shape(example("gatewayz", "GET", "/admin/monitor").response, http.get("/admin/monitor").json())


def test_a_sidecar_elsewhere_takes_its_data_planes_word(tmp_path: Path) -> None:
    sidecar_dir, proxy_dir = tmp_path / "sidecar", tmp_path / "proxy"
    sidecar_dir.mkdir()
    proxy_dir.mkdir()
    with running_sidecar({"master_key": MASTER, "sidecar": {"listen": "127.0.0.1:0"}}, sidecar_dir) as sidecar:
        url = next(item for item in sidecar.ready["urls"] if item.startswith("http"))
        config = {"server": {"port": 0}, "master_key": MASTER, "sidecar": {"url": url}}
        config |= {"data_dir": str(proxy_dir / "data"), **{name: CONFIG[name] for name in ("providers", "models")}}
        own = {"authorization": f"Bearer {MASTER}"}
        with (
            running_gateway(config, proxy_dir, command="proxy") as gateway,
            httpx.Client(base_url=gateway.root, headers=own, timeout=30) as through,
            httpx.Client(base_url=url, headers=own, timeout=30) as direct,
        ):
            made = through.post("/api/v1/auth/api-keys", json={"name": "through"})
            assert made.status_code == 201, made.text
            forged = {"x-request-id": "forged", "x-forwarded-for": "10.0.0.1", "x-gateway-forwarded": "0" * 64}
            assert direct.post("/api/v1/auth/api-keys", json={"name": "direct"}, headers=forged).status_code == 201
            query = {"event_type": "auth.api_key.created"}
            last, first = direct.get("/api/v1/audit", params=query).json()["data"]
    assert first["metadata"]["request_id"] == made.headers["x-request-id"]
    assert last["metadata"]["request_id"] != "forged"
    assert last["ip_address"] == "127.0.0.1"
