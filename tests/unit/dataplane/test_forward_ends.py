"""Forwarded requests that end early: the client leaves, or the sidecar is not there or fails."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.contract.owners import Reference
from gateway.dataplane import forwarded
from tests.support.forwarding import GET, GONE, at_rest, echo, forwarding, front, head
from tests.support.raw_upstream import STREAM_HEAD, WAIT, Peer, chunk, raw_upstream
from tests.support.wire import post, wire

# clients that leave


@pytest.mark.parametrize("when", ["waiting", "streaming", "uploading"])
async def test_a_client_that_leaves_ends_the_request_to_the_sidecar(tmp_path: Path, when: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        if when == "streaming":
            await peer.send(STREAM_HEAD, chunk(b"data: 1\n\n"))
        await peer.gone()

    async with front(tmp_path, script) as (sidecar, gateway, client):
        await client.send(head("/plans", b"content-length: 100") + b"x" if when == "uploading" else GET)
        await sidecar.until(lambda: bool(sidecar.requests))
        if when == "streaming":
            await client.piece(await client.head())
        client.leave()
        await asyncio.wait_for(sidecar.peers[0].left.wait(), WAIT)
        await at_rest(gateway.worker.forward)


# a sidecar that is not there, or fails

CODES: dict[Reference, tuple[str, str]] = {
    "gatewayz": ("/user/balance", "status_code"),
    "llm_cost_ops": ("/api/v1/costs", "request_id"),
    "ai_marketplace": ("/v1/apps/register", "requestId"),
    "leanvibe": ("/v1/tenants/me/info", "request_id"),
    "ops_center": ("/api/v1/organizations", "error_code"),
    "openai": ("/v1/nothing", "error"),
}


@pytest.mark.parametrize("owner", CODES)
async def test_without_a_sidecar_a_path_is_not_found(tmp_path: Path, owner: Reference) -> None:
    path, field = CODES[owner]
    async with forwarding(tmp_path, None) as gateway, wire(gateway.address) as client:
        await client.send(head(path, method="GET"))
        got = await client.answer()
        assert got.status == 404
        assert field in got.json
        assert got.headers["content-type"] == "application/json"
        if "equest" in field:
            assert got.json[field] == got.headers["x-request-id"]


@pytest.mark.parametrize("owner", CODES)
async def test_while_the_sidecar_is_down_a_path_is_unavailable(tmp_path: Path, owner: Reference) -> None:
    path, field = CODES[owner]
    async with forwarding(tmp_path, f"unix:{tmp_path}/s") as gateway, wire(gateway.address) as client:
        await client.send(post(path, b"body"))
        got = await client.answer()
        assert (got.status, got.headers["retry-after"]) == (503, "2")
        assert field in got.json
        assert str(tmp_path) not in got.body.decode()
        async with raw_upstream(echo, path=tmp_path / "s"):
            await client.send(post(path, b"body"))
            assert (await client.answer()).body == b"body"
        await client.send(post(path, b"body"))
        assert (await client.answer()).status == 503


async def test_a_sidecar_that_is_only_being_started_is_waited_for(tmp_path: Path) -> None:
    async with forwarding(tmp_path, f"unix:{tmp_path}/s") as gateway, wire(gateway.address) as client:
        gateway.worker.forward.expected_by = gateway.worker.loop.time() + WAIT
        await client.send(post("/user/balance", b"body"))
        waiting = asyncio.create_task(client.answer())
        await asyncio.sleep(0)
        async with raw_upstream(echo, path=tmp_path / "s"):
            assert (await waiting).body == b"body"
        await client.send(post("/user/balance", b"body"))
        assert (await client.answer()).status == 503, "one that was there and is gone is not waited for"


async def test_the_usage_of_an_app_fails_as_ai_marketplace_says(tmp_path: Path) -> None:
    async with forwarding(tmp_path, None) as gateway, wire(gateway.address) as client:
        for line, field in [
            (b"authorization: Bearer app_1:sk_2", "requestId"),
            (b"x-api-key: sk_live_1", "request_id"),
        ]:
            await client.send(head("/v1/billing/usage", line, method="GET"))
            assert field in (await client.answer()).json


@pytest.mark.parametrize(("method", "status", "wait"), [("POST", 502, None), ("GET", 503, "2")])
async def test_a_sidecar_that_ends_before_it_answers(
    tmp_path: Path, method: str, status: int, wait: str | None
) -> None:
    """Where it matters whether the request was carried out, nobody is invited to repeat it."""

    async def script(peer: Peer) -> None:
        await peer.request()

    async with front(tmp_path, script) as (sidecar, _, client):
        await client.send(head("/v1/tenants", method=method))
        got = await client.answer()
        assert (got.status, got.json["error"]) == (status, "service_unavailable")
        assert got.headers.get("retry-after") == wait
    assert len(sidecar.requests) == 1


async def test_a_sidecar_that_ends_in_mid_answer(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD, chunk(b"data: 1\n\n"))

    async with front(tmp_path, script) as (_, _, client):
        await client.send(GET)
        got = await client.answer()
        assert (got.status, got.body, got.complete) == (200, b"data: 1\n\n", False)


@pytest.mark.parametrize(("method", "status"), [("GET", 404), ("POST", 502)])
async def test_a_connection_that_closes_as_it_is_used(tmp_path: Path, method: str, status: int) -> None:
    """What can be asked twice is asked twice, once; what might be done twice is not."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(GONE)
        if peer.number == 0:
            await peer.head()
            peer.close(reset=True)

    async with front(tmp_path, script) as (sidecar, _, client):
        await client.send(GET)
        assert (await client.answer()).status == 404
        await client.send(head("/plans", method=method))
        assert (await client.answer()).status == status
    assert len(sidecar.requests) == (3 if method == "GET" else 2)


async def test_an_answer_that_is_no_http(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"what?\r\n\r\n")
        await peer.gone()

    async with front(tmp_path, script) as (_, _, client):
        await client.send(GET)
        assert (await client.answer()).status == 502


async def test_a_sidecar_that_does_not_answer_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    monkeypatch.setattr(forwarded, "FIRST", 0.05)
    async with front(tmp_path, script) as (_, _, client):
        for request in (GET, post("/plans", b"body")):
            await client.send(request)
            assert (await client.answer()).status == 504
