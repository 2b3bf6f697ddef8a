"""Forwarded requests: what goes to the sidecar and back, what does not, and what the gate says."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.dataplane.forward import Passage
from gateway.dataplane.forwarding import Asked
from gateway.kernel.errors import GatewayError, Kind, LimitDetails
from tests.support.forwarding import GET, GONE, echo, front, head
from tests.support.raw_upstream import Peer
from tests.support.wire import post

# heads


async def test_a_request_arrives_as_it_was_sent(tmp_path: Path) -> None:
    async with front(tmp_path, echo) as (sidecar, _, client):
        await client.send(
            b"PUT /api/v1/pricing/a%20b?x=%2F&y HTTP/1.1\r\nHost: gw.example:81\r\nContent-Length: 2\r\n"
            b"Authorization: Bearer k\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: gopher\r\n"
            b"X-Request-ID: mine\r\nTE: trailers\r\nKeep-Alive: 5\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n"
            b"X-Gateway-Internal: forged\r\nAccept: */*\r\n\r\nhi"
        )
        got = await client.answer()
    (seen,) = sidecar.requests
    assert seen.line == b"PUT /api/v1/pricing/a%20b?x=%2F&y HTTP/1.1"
    assert seen.headers == {
        "host": "gw.example:81",
        "content-length": "2",
        "authorization": "Bearer k",
        "x-forwarded-for": "10.0.0.1, 127.0.0.1",
        "x-forwarded-proto": "http",
        "x-request-id": got.headers["x-request-id"],
        "accept": "*/*",
    }
    assert got.headers["x-request-id"].startswith("req_")
    assert got.body == b"hi"


async def test_an_answer_arrives_as_it_was_sent(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(
            b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx-hop: 1\r\n"
            b"connection: x-hop\r\nkeep-alive: timeout=5\r\nx-request-id: theirs\r\ndate: then\r\nserver: uvicorn\r\n"
            b"etag: W/x\r\n\r\nok"
        )

    async with front(tmp_path, script) as (_, _, client):
        await client.send(GET)
        raw = await client.reader.readuntil(b"\r\n\r\n")
    lines = raw.lower().split(b"\r\n")
    names = [line.partition(b":")[0] for line in lines[1:] if line]
    assert lines[0] == b"http/1.1 201 created"
    assert sorted(names) == sorted([b"date", b"content-length", b"set-cookie", b"set-cookie", b"etag", b"x-request-id"])
    assert b"theirs" not in raw


async def test_connections_are_kept_and_requests_follow_each_other(tmp_path: Path) -> None:
    async with front(tmp_path, echo) as (sidecar, _, client):
        await client.send(post("/v1/tenants", b"one") + post("/v1/projects", b"two"))
        assert [(await client.answer()).body for _ in range(2)] == [b"one", b"two"]
        await client.send(GET)
        assert (await client.answer()).body == b""
    assert len(sidecar.peers) == 1


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_answers_without_a_body(tmp_path: Path, status: bytes) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(b"HTTP/1.1 " + status + b"\r\netag: x\r\n\r\n")

    async with front(tmp_path, script) as (_, _, client):
        for _ in range(2):
            await client.send(GET)
            got = await client.head()
            assert (str(got.status), got.headers["etag"]) == (status[:3].decode(), "x")


async def test_head_is_answered_without_waiting_for_a_body(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        await peer.gone()

    async with front(tmp_path, script) as (_, _, client):
        for _ in range(2):
            await client.send(GET.replace(b"GET", b"HEAD"))
            got = await client.head()
            assert (got.status, got.headers["content-length"]) == (200, "1000")


async def test_404_and_405_are_the_sidecars(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(GONE)
        await peer.request()
        await peer.send(b"HTTP/1.1 405 Method Not Allowed\r\nallow: GET\r\ncontent-length: 0\r\n\r\n")

    async with front(tmp_path, script) as (_, _, client):
        await client.send(head("/nothing", method="GET"))
        got = await client.answer()
        assert (got.status, got.body) == (404, b"gone")
        await client.send(post("/plans"))
        got = await client.answer()
        assert (got.status, got.headers["allow"]) == (405, "GET")


async def test_over_tcp_below_a_prefix(tmp_path: Path) -> None:
    async with front(tmp_path, echo, tcp=True) as (sidecar, _, client):
        await client.send(post("/v1/tenants?a=b", b"x"))
        assert (await client.answer()).body == b"x"
    assert sidecar.requests[0].target == "/v1/v1/tenants?a=b"


# what is never forwarded


@pytest.mark.parametrize(
    "path",
    [
        "/internal",
        "/internal/",
        "/internal/resolve",
        "/%69nternal/resolve",
        "/Internal/changes",
        "//internal/resolve",
        "/./internal/resolve",
        "/plans/../internal/resolve",
        "/plans/%2e%2e/internal",
        "/internal%2Fresolve",
        "/%5cinternal/resolve",
        "/internal/../internal/poke",
        "/internal;x/resolve",
        "/internal/resolve?x=1",
    ],
)
async def test_the_internal_api_is_not_there(tmp_path: Path, path: str) -> None:
    async with front(tmp_path, echo) as (sidecar, _, client):
        await client.send(post(path, b"{}"))
        assert (await client.answer()).status == 404
    assert sidecar.requests == []


async def test_paths_that_only_look_internal_are_forwarded(tmp_path: Path) -> None:
    async with front(tmp_path, echo) as (_, _, client):
        for path in ("/internals", "/coupons/internal", "/api/v1/usage/internal/resolve"):
            await client.send(post(path, b"x"))
            assert (await client.answer()).body == b"x"


async def test_the_data_planes_own_paths_stay_its_own(tmp_path: Path) -> None:
    async with front(tmp_path, echo) as (sidecar, _, client):
        await client.send(head("/health", method="GET"))
        assert (await client.answer()).status == 200
        await client.send(head("/v1/chat/completions", method="GET"))
        got = await client.answer()
        assert (got.status, got.code, got.headers["allow"]) == (405, "method_not_allowed", "POST")
        await client.send(post("/ready"))
        got = await client.answer()
        assert (got.status, got.json["error"]["code"]) == (405, "METHOD_NOT_ALLOWED")
        await client.send(head("/models", method="GET"))
        assert (await client.answer()).json["object"] == "list"
        await client.send(head("/v1/models", method="GET"))
        assert (await client.answer()).code == "missing_api_key"
        assert sidecar.requests == []
        await client.send(head("/models/providers", method="GET"))
        assert (await client.answer()).status == 200
    assert [request.target for request in sidecar.requests] == ["/models/providers"]


# the gate


async def test_the_gate_may_refuse_and_adds_headers_to_every_answer(tmp_path: Path) -> None:
    asked: list[Asked] = []
    done: list[str] = []
    details = LimitDetails("requests", "key", "k", 5, 5, 0, "minute", 1_700_000_000.0, "pro")

    async def gate(request: Asked) -> Passage:
        asked.append(request)
        passage = Passage(headers=[(b"x-ratelimit-limit", b"5"), (b"x-plan", b"pro")])
        passage.done = lambda: done.append(request.path)
        if request.path == "/plans":
            message = "Too many requests."
            passage.refusal = GatewayError(
                Kind.RATE_LIMITED, "rate_limit_exceeded", message, retry_after=9, details=details
            )
        return passage

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nx-plan: none\r\ncontent-length: 0\r\n\r\n")
        await peer.request()
        peer.close(reset=True)

    async with front(tmp_path, script) as (sidecar, gateway, client):
        gateway.worker.forward.gate = gate
        await client.send(post("/plans", b"x", b"x-tag: 1"))
        got = await client.answer()
        assert (got.status, got.headers["retry-after"], got.headers["x-plan"]) == (429, "9", "pro")
        assert got.json["detail"] == "Too many requests."
        assert got.headers["x-ratelimit-window"] == "60"
        await client.send(head("/user/balance", method="GET"))
        got = await client.answer()
        assert (got.status, got.headers["x-plan"], got.headers["x-ratelimit-limit"]) == (200, "pro", "5")
        await client.send(post("/user/api-keys", b"x"))
        got = await client.answer()
        assert (got.status, got.headers["x-plan"]) == (502, "pro")
        await client.send(head("/internal/resolve", method="GET"))
        await client.answer()
    assert done == ["/plans", "/user/balance", "/user/api-keys"]
    assert (asked[0].method, asked[0].owner, asked[0].client) == ("POST", "gatewayz", "127.0.0.1")
    assert (b"x-tag", b"1") in asked[0].headers
    assert [request.target for request in sidecar.requests] == ["/user/balance", "/user/api-keys"]
