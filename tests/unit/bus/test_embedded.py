"""The data plane's client against the real internal API, and against peers that misbehave."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
import trustme
from msgspec.structs import replace

from gateway.bus import embedded
from gateway.bus.connect import policy_source
from gateway.bus.embedded import EmbeddedPolicy
from gateway.bus.policy import PRICED_MOST, PolicyUnavailable, Query
from gateway.contract.catalogue import UNKNOWN, Details
from gateway.contract.policy import Change, CredentialPolicy, LimitPolicy, Resolution
from gateway.contract.prices import Priced, PriceFrom, Prices
from gateway.sidecar import feed as feeds
from gateway.sidecar import internal
from tests.support.changes import MemoryLog
from tests.support.sidecar import MASTER, internal_api
from tests.support.tls import server_context

WAIT = 30.0
AB, CD = "ab" * 32, "cd" * 32
POLICY = CredentialPolicy(
    id="key_1",
    name="a",
    kind="api_key",
    organization="acme",
    limits=(LimitPolicy(scope="key", scope_id="key_1", metric="requests", limit=5, window="minute"),),
)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "HEARTBEAT", 0.05)


async def next_change(changes: AsyncIterator[Change | None]) -> Change:
    async with asyncio.timeout(WAIT):
        async for change in changes:
            if change is not None:
                return change
    raise AssertionError("the changes ended")


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT):
        while not true():  # noqa: ASYNC110 - what is looked at has no event
            await asyncio.sleep(0.002)


def policy(path: Path, told: list[bool] | None = None) -> EmbeddedPolicy:
    return EmbeddedPolicy(f"unix:{path}", MASTER, told.append if told is not None else None)


async def test_a_lookup_is_answered_over_kept_connections(tmp_path: Path) -> None:
    async with internal_api(tmp_path / "s", MemoryLog()) as api:
        api.answers[AB] = Resolution(seq=7, policy=POLICY)
        source = policy(tmp_path / "s")
        for _ in range(3):
            assert await source.resolve(Query(digest=AB)) == Resolution(seq=7, policy=POLICY)
        assert await source.resolve(Query(digest=CD, app="app_1")) == Resolution(seq=0)
        assert await source.resolve(Query(token="e30.e30.x")) == Resolution(seq=0)
        assert api.asked[-2:] == [Query(digest=CD), Query(token="e30.e30.x")]
        assert [len(client._idle) for client in (source.client, source._keys)] == [1, 1]
        await source.close()


async def test_tokens_share_a_few_connections(tmp_path: Path) -> None:
    async with internal_api(tmp_path / "s", MemoryLog()) as api:
        source = policy(tmp_path / "s")
        api.gate.clear()
        asking = [asyncio.create_task(source.resolve(Query(token=f"e30.e30.{n}"))) for n in range(50)]
        await until(lambda: len(api.asked) == 8)
        api.gate.set()
        assert await asyncio.gather(*asking) == [Resolution(seq=0)] * 50
        assert len(source.client._idle) == 8
        await source.close()


async def test_tokens_that_take_long_do_not_keep_keys_waiting(tmp_path: Path) -> None:
    async with internal_api(tmp_path / "s", MemoryLog()) as api:
        source = policy(tmp_path / "s")
        api.gate.clear()
        asking = [asyncio.create_task(source.resolve(Query(token=f"e30.e30.{n}"))) for n in range(20)]
        await until(lambda: len(api.asked) == 8)
        key = asyncio.create_task(source.resolve(Query(digest=AB)))
        await until(lambda: Query(digest=AB) in api.asked)
        api.gate.set()
        assert await key == Resolution(seq=0)
        await asyncio.gather(*asking)
        await source.close()


async def test_keys_that_are_asked_for_at_once_go_together(tmp_path: Path) -> None:
    async with internal_api(tmp_path / "s", MemoryLog()) as api:
        source = policy(tmp_path / "s")
        digests = [f"{n:064x}" for n in range(1_000)]
        api.answers = {digest: Resolution(seq=1, policy=replace(POLICY, id=digest)) for digest in digests[::2]}
        told = await asyncio.gather(*(source.resolve(Query(digest=digest)) for digest in digests))
        assert told == [api.answers.get(digest, Resolution(seq=0)) for digest in digests]
        assert api.batches == [256, 256, 256, 232]
        assert len(source._keys._idle) == 2
        await source.close()


async def test_an_answer_that_would_be_too_large_comes_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(internal, "LARGEST_ANSWER", 1_000)
    async with internal_api(tmp_path / "s", MemoryLog()) as api:
        source = policy(tmp_path / "s")
        digests = [f"{n:064x}" for n in range(40)]
        api.answers = {digest: Resolution(seq=1, policy=replace(POLICY, id=digest)) for digest in digests}
        told = await asyncio.gather(*(source.resolve(Query(digest=digest)) for digest in digests))
        assert told == [api.answers[digest] for digest in digests]
        assert api.batches == list(range(40, 0, -4))
        monkeypatch.setattr(internal, "LARGEST_ANSWER", 1)
        assert await asyncio.gather(*(source.resolve(Query(digest=digest)) for digest in digests[:3])) == told[:3]
        await source.close()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"[1]",
        b"{}",
        b'{"digest": "AB"}',
        b'{"digest": "%s", "token": "x"}' % (b"a" * 64),
        b'[{"token": "e30.e30.x"}]',
        b'[{"digest": "%s"}, {"digest": "%s"}]' % (b"a" * 64, b"g" * 64),
        b"[" + b",".join([b'{"digest": "%s"}' % (b"a" * 64)] * 257) + b"]",
        b'{"token": "%s"}' % (b"x" * 70_000),
    ],
)
async def test_a_question_that_is_none_is_refused(tmp_path: Path, body: bytes) -> None:
    async with internal_api(tmp_path / "s", MemoryLog()) as api:
        source = policy(tmp_path / "s")
        answer = await source.client.request("POST", "/internal/resolve", source._headers, body)
        assert answer.status == 400
        assert b"invalid_query" in answer.body
        assert api.asked == []
        await source.close()


async def test_a_wrong_master_key_is_no_answer(tmp_path: Path) -> None:
    async with internal_api(tmp_path / "s", MemoryLog()) as api:
        source = EmbeddedPolicy(f"unix:{tmp_path / 's'}", "another-key")
        with pytest.raises(PolicyUnavailable, match="status 403"):
            await source.resolve(Query(digest=AB))
        assert api.asked == []
        await source.close()


async def test_a_sidecar_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    source = policy_source(f"unix:{tmp_path / 'none'}", MASTER, None)
    with pytest.raises(PolicyUnavailable, match="cannot be asked"):
        await source.resolve(Query(digest=AB))


async def test_a_lookup_has_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "RESOLVE_SECONDS", 0.05)
    async with internal_api(tmp_path / "s", MemoryLog()) as api:
        source = policy(tmp_path / "s")
        api.gate.clear()
        with pytest.raises(PolicyUnavailable, match=r"within 0\.05 s"):
            await source.resolve(Query(digest=AB))
        await source.close()
        monkeypatch.setattr(embedded, "RESOLVE_SECONDS", WAIT)
        source = policy(tmp_path / "s")
        api.gate.set()
        assert await source.resolve(Query(digest=AB)) == Resolution(seq=0)
        await source.close()


async def test_a_lookup_survives_a_restart_of_the_sidecar(tmp_path: Path) -> None:
    source = policy(tmp_path / "s")
    for _ in range(2):
        async with internal_api(tmp_path / "s", MemoryLog()):
            assert await source.resolve(Query(digest=AB)) == Resolution(seq=0)
    with pytest.raises(PolicyUnavailable):
        await source.resolve(Query(digest=AB))
    await source.close()


async def test_changes_are_heard_as_they_come(tmp_path: Path) -> None:
    log = MemoryLog()
    log.add()
    async with internal_api(tmp_path / "s", log) as api:
        source = policy(tmp_path / "s")
        assert not source.connected
        async with aclosing(source.changes()) as changes:
            first = await next_change(changes)
            assert (first.kind, first.seq) == ("everything", 1)
            assert source.connected
            made = log.add("key_2", "ab" * 32)
            api.feed.poke()
            assert await next_change(changes) == made
            async with asyncio.timeout(WAIT):
                assert await anext(changes) is None
        assert not source.connected


async def test_it_goes_on_where_it_was_after_a_restart(tmp_path: Path) -> None:
    log = MemoryLog()
    told: list[bool] = []
    source = policy(tmp_path / "s", told)
    async with aclosing(source.changes()) as changes:
        async with internal_api(tmp_path / "s", log) as api:
            await next_change(changes)
            log.add()
            api.feed.poke()
            assert (await next_change(changes)).seq == 1
        missed = [log.add(), log.add()]
        hearing = asyncio.create_task(next_change(changes))
        await until(lambda: not source.connected)
        async with internal_api(tmp_path / "s", log):
            assert [await hearing, await next_change(changes)] == missed
        assert told == [True, False, True]


async def test_another_database_means_everything(tmp_path: Path) -> None:
    source = policy(tmp_path / "s")
    old, new = MemoryLog(), MemoryLog()
    for _ in range(3):
        old.add()
    async with aclosing(source.changes()) as changes:
        async with internal_api(tmp_path / "s", old):
            assert (await next_change(changes)).seq == 3
        new.add()
        async with internal_api(tmp_path / "s", new) as api:
            again = await next_change(changes)
            assert (again.kind, again.seq) == ("everything", 1)
            made = new.add()
            api.feed.poke()
            heard = [await next_change(changes)]
            while heard[-1].kind == "everything":
                heard.append(await next_change(changes))
            assert heard[-1] == made


@asynccontextmanager
async def raw_peer(
    path: Path | None, answer: bytes, then_close: bool = True, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """A server that answers every request with the same bytes; without a path on TCP, at the port it gives."""
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            if not then_close:
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has given up
        finally:
            writer.transport.abort()

    if path is not None:
        server, port = await asyncio.start_unix_server(serve, path), 0
    else:
        server = await asyncio.start_server(serve, "localhost", 0, family=socket.AF_INET, ssl=tls)
        port = server.sockets[0].getsockname()[1]
    try:
        yield port
    finally:
        server.close()
        await asyncio.gather(*(task for task in serving if task is not None))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "closed before the answer was complete"),
        (b"garbage\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}", "closed before"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", "answered 0 of 1"),
        (b'HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n[{"seq":1},{"seq":1}]', "answered 2 of 1"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "cannot be read"),
        (b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n", "status 500"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 6000000\r\n\r\n" + b"x" * 5_000_000, "too large"),
    ],
)
async def test_a_peer_that_makes_no_sense_is_told(tmp_path: Path, answer: bytes, why: str) -> None:
    async with raw_peer(tmp_path / "s", answer):
        source = policy(tmp_path / "s")
        with pytest.raises(PolicyUnavailable, match=why):
            await source.resolve(Query(digest=AB))
        await source.close()


async def test_a_connection_that_went_quiet_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "QUIET_SECONDS", 0.5)
    lost = asyncio.Event()
    head = b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nA\r\n{"seq":12}\r\n1\r\n\n\r\n'
    async with raw_peer(tmp_path / "s", head, then_close=False):
        source = EmbeddedPolicy(f"unix:{tmp_path / 's'}", MASTER, lambda heard: None if heard else lost.set())
        async with aclosing(source.changes()) as changes:
            assert (await next_change(changes)).seq == 12
            assert source.connected
            hearing = asyncio.create_task(anext(changes))
            async with asyncio.timeout(WAIT):
                await lost.wait()
            assert await hearing is None


async def test_an_endless_line_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    head = b'HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n{"seq":1}\n' + b"x" * 2_000_000
    async with raw_peer(tmp_path / "s", head, then_close=False):
        source = policy(tmp_path / "s")
        async with aclosing(source.changes()) as changes:
            await next_change(changes)
            assert await anext(changes) is None  # of the next connection: the first one was given up
    assert any("too long" in record.reason for record in caplog.records if hasattr(record, "reason"))


async def test_it_speaks_tls_to_whom_it_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    answer = b'HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n[{"seq":3}]'
    async with raw_peer(None, answer, tls=server_context(authority)) as port:
        stranger = EmbeddedPolicy(f"https://localhost:{port}", MASTER)
        with pytest.raises(PolicyUnavailable, match="cannot be asked"):
            await stranger.resolve(Query(digest=AB))
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        source = EmbeddedPolicy(f"https://localhost:{port}", MASTER)
        assert await source.resolve(Query(digest=AB)) == Resolution(seq=3)
        for each in (stranger, source):
            await each.close()


async def test_a_poke_is_heard_or_not_and_never_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "LOOK", 60.0)
    source = policy(tmp_path / "s")
    assert not await source.poke()
    log = MemoryLog()
    async with internal_api(tmp_path / "s", log), aclosing(source.changes()) as changes:
        await next_change(changes)
        made = log.add()
        assert await source.poke()
        assert await next_change(changes) == made
    await source.close()


@pytest.mark.parametrize("address", ["tcp://h:1", "unix:relative", "http://", "nonsense"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="expected unix:/path"):
        EmbeddedPolicy(address, MASTER)


async def test_prices_are_told_in_the_order_they_were_asked_for(tmp_path: Path) -> None:
    async with internal_api(tmp_path / "s", MemoryLog()) as api:
        known = [PriceFrom(0, "api", {"input": 1}), PriceFrom(5, "default", {"output": 2}, currency="EUR")]
        api.prices[Priced("up", "x")] = known
        source = policy(tmp_path / "s")
        assert await source.prices([Priced("up", "y"), Priced("up", "x")]) == Prices([[], known], [])
        with pytest.raises(PolicyUnavailable, match="status 400"):
            await source.prices([Priced("up", "x")] * (PRICED_MOST + 1))
        with pytest.raises(PolicyUnavailable, match="status 400"):
            await source.prices([])
        longest = "\N{GRINNING FACE}" * 200
        assert len((await source.prices([Priced(longest, longest)] * PRICED_MOST)).prices) == PRICED_MOST
        await source.close()
        stranger = EmbeddedPolicy(f"unix:{tmp_path / 's'}", "another")
        with pytest.raises(PolicyUnavailable, match="status 403"):
            await stranger.prices([Priced("up", "x")])
        await stranger.close()


async def test_too_many_prices_are_told_of_the_first_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internal, "LARGEST_ANSWER", 100)
    async with internal_api(tmp_path / "s", MemoryLog()) as api:
        targets = [Priced("up", str(number)) for number in range(5)]
        for target in targets:
            api.prices[target] = [PriceFrom(0, "api", {"input": 10**18})]
        source = policy(tmp_path / "s")
        assert 1 <= len((await source.prices(targets)).prices) < 5
        monkeypatch.setattr(internal, "LARGEST_ANSWER", 1)
        assert len((await source.prices(targets)).prices) == 1
        await source.close()


async def test_details_are_told_in_the_order_they_were_asked_for(tmp_path: Path) -> None:
    async with internal_api(tmp_path / "s", MemoryLog()) as api:
        known = Details(
            name="X", context_length=5, input_modalities=("text",), prices={"prompt": "0.1"}, moderated=False
        )
        api.details[Priced("up", "x")] = known
        source = policy(tmp_path / "s")
        assert await source.details([Priced("up", "y"), Priced("up", "x")]) == [UNKNOWN, known]
        with pytest.raises(PolicyUnavailable, match="status 400"):
            await source.details([Priced("up", "x")] * (PRICED_MOST + 1))
        await source.close()
        stranger = EmbeddedPolicy(f"unix:{tmp_path / 's'}", "another")
        with pytest.raises(PolicyUnavailable, match="status 403"):
            await stranger.details([Priced("up", "x")])
        await stranger.close()


async def test_prices_that_no_sidecar_tells(tmp_path: Path) -> None:
    source = policy(tmp_path / "none")
    with pytest.raises(PolicyUnavailable):
        await source.prices([Priced("up", "x")])
    await source.close()
