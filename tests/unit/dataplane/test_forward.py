"""Forwarded requests: what goes to the sidecar and back, streamed, bounded, ended early, and refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.contract.owners import Reference
from gateway.dataplane import forwarded
from gateway.dataplane.forward import Passage
from gateway.dataplane.forwarding import Asked
from gateway.kernel.errors import GatewayError, Kind, LimitDetails
from tests.support.forwarding import at_rest, echo, forwarding, front, settled
from tests.support.raw_upstream import LAST_CHUNK, STREAM_HEAD, WAIT, Peer, answer, chunk, raw_upstream
from tests.support.wire import post, wire

GET = b"GET /api/v1/costs HTTP/1.1\r\nhost: gw.example\r\n\r\n"
GONE = b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\ngone"
MEGABYTE = bytes(range(256)) * 4096


def head(path: str, *lines: bytes, method: str = "POST") -> bytes:
    return b"\r\n".join((f"{method} {path} HTTP/1.1".encode(), b"host: gw", *lines, b"", b""))


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


# bodies


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_large_upload_and_a_large_answer(tmp_path: Path, chunked: bool) -> None:
    body = MEGABYTE * 8
    async with front(tmp_path, echo) as (sidecar, _, client):
        if chunked:
            pieces = [chunk(body[at : at + 300_000]) for at in range(0, len(body), 300_000)]
            request = head("/api/v1/usage/batch", b"transfer-encoding: chunked") + b"".join(pieces) + LAST_CHUNK
        else:
            request = post("/api/v1/usage/batch", body)
        sending = asyncio.create_task(client.send(request))
        got = await client.answer()
        await sending
        assert got.complete
        assert got.body == body
        await client.send(post("/plans", b"next"))
        assert (await client.answer()).body == b"next"
    assert len(sidecar.peers) == 1


async def test_an_upload_is_passed_on_while_it_comes(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.head()
        async for piece in peer.body(request):
            came.put_nowait(piece)
        await peer.send(GONE)

    came: asyncio.Queue[bytes] = asyncio.Queue()
    async with front(tmp_path, script) as (_, _, client):
        await client.send(head("/plans", b"content-length: 6"))
        for piece in (b"one", b"two"):
            await client.send(piece)
            assert await asyncio.wait_for(came.get(), WAIT) == piece
        assert (await client.answer()).status == 404


async def test_an_upload_is_read_as_fast_as_the_sidecar_takes_it(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.head()
        await reading.wait()
        size = 0
        async for piece in peer.body(request):
            size += len(piece)
        await peer.send(answer(b"%d" % size))

    reading = asyncio.Event()
    async with front(tmp_path, script) as (sidecar, _, client):
        sending = asyncio.create_task(client.send(post("/plans", MEGABYTE * 16)))
        await sidecar.until(lambda: bool(sidecar.requests))
        left = await settled(client.writer.transport.get_write_buffer_size)
        assert left > 8_000_000
        reading.set()
        assert (await client.answer()).body == b"%d" % (len(MEGABYTE) * 16)
        await sending


async def test_events_come_one_by_one(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD)
        for number in range(3):
            await asyncio.wait_for(wanted.acquire(), WAIT)
            await peer.send(chunk(b"data: %d\n\n" % number))
        await peer.send(LAST_CHUNK)

    wanted = asyncio.Semaphore(0)
    async with front(tmp_path, script) as (_, _, client):
        await client.send(GET)
        got = await client.head()
        assert got.headers["content-type"] == "text/event-stream"
        for number in range(3):
            wanted.release()
            assert await client.piece(got) == b"data: %d\n\n" % number
        assert await client.piece(got) == b""


async def test_an_answer_is_read_as_fast_as_the_client_takes_it(tmp_path: Path) -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (32 * len(MEGABYTE)))
        for _ in range(32):
            await peer.send(MEGABYTE)
            sent += len(MEGABYTE)
        await peer.request()
        await peer.send(GONE)

    async with front(tmp_path, script, receive_buffer=65_536) as (sidecar, _, client):
        await client.send(GET)
        got = await client.head()
        assert await settled(lambda: sent) < 16_000_000
        await client.rest(got)
        assert got.body == MEGABYTE * 32
        await client.send(GET)
        assert (await client.answer()).status == 404
    assert len(sidecar.peers) == 1


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_that_is_too_large(tmp_path: Path, declared: bool) -> None:
    async with front(tmp_path, echo, limit=1000) as (sidecar, _, client):
        body = b"x" * 1001
        line = b"content-length: 1001" if declared else b"transfer-encoding: chunked"
        await client.send(head("/v1/tenants", line) + (body if declared else chunk(body) + LAST_CHUNK))
        got = await client.answer()
        assert (got.status, got.json["error"]) == (413, "invalid_request")
        await client.send(post("/v1/tenants", b"x" * 1000))
        assert (await client.answer()).status == 200
    assert [len(request.body) for request in sidecar.requests if request.body] == [1000]


@pytest.mark.parametrize("bound", ["PATIENCE", "LONGEST_BODY"])
async def test_a_body_that_does_not_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.gone()

    monkeypatch.setattr(forwarded, bound, 0.1)
    async with front(tmp_path, script) as (_, _, client):
        await client.send(head("/user/api-keys", b"content-length: 10") + b"short")
        got = await client.answer()
        assert (got.status, got.json["status_code"]) == (400, 400)
        assert await client.at_end()


async def test_an_answer_before_the_body_is_complete(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(GONE)
        await peer.gone()

    async with front(tmp_path, script) as (sidecar, _, client):
        await client.send(head("/plans", b"content-length: 10") + b"12345")
        assert (await client.answer()).status == 404
        sidecar.script = echo
        await client.send(b"67890" + post("/plans", b"next"))
        assert (await client.answer()).body == b"next"


async def test_100_continue_comes_when_the_body_is_wanted(tmp_path: Path) -> None:
    async with front(tmp_path, echo) as (sidecar, _, client):
        await client.send(head("/plans", b"content-length: 2", b"expect: 100-continue"))
        assert (await client.head()).status == 100
        await client.send(b"ok")
        assert (await client.answer()).body == b"ok"
    assert "expect" not in sidecar.requests[0].headers


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
        assert (await client.answer()).code == "missing_api_key"
    assert sidecar.requests == []


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
