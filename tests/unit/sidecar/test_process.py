"""Real sidecar processes: what they answer, how they start, reload, die and end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest

from gateway.bus.connect import policy_source
from gateway.bus.embedded import EmbeddedPolicy
from gateway.bus.policy import PolicyUnavailable, Query
from gateway.contract.internal import HEADER, internal_token
from gateway.contract.policy import Resolution
from tests.support.postgres import PostgresServer
from tests.support.redis_server import running_redis
from tests.support.sidecar import MASTER, RunningSidecar, running_sidecar
from tests.support.sidecar_accounts import accounts, hex_digest
from tests.unit.bus.test_embedded import next_change

STATIC = {"key": "gw_live_static_key", "name": "s", "organization": "acme"}


CONFIG = {"keys": [STATIC], "admin": {"email": "a@example.com", "password": "hush-hush-1"}}


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[RunningSidecar]:
    """One that a test may kill, end and reload."""
    with running_sidecar(CONFIG, tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSidecar]:
    """One for the tests that leave it as it is."""
    with running_sidecar(CONFIG, tmp_path_factory.mktemp("shared")) as running:
        yield running


def until_heard_by(sidecar: RunningSidecar, count: int) -> None:
    """Wait until so many listen to changes: it notices a moment later that one has left."""
    deadline = time.monotonic() + 30
    while sidecar.http.get("/internal/health").json()["subscribers"] != count:
        assert time.monotonic() < deadline


async def test_a_key_is_known_from_its_making_to_its_revocation(shared: RunningSidecar) -> None:
    policy = EmbeddedPolicy(shared.address, MASTER)
    async with accounts(shared.data_dir) as made, aclosing(policy.changes()) as changes:
        first = await next_change(changes)
        assert first.kind == "everything"
        id, secret = await made.create_key()
        assert await policy.poke()
        started = time.monotonic()
        change = await next_change(changes)
        assert time.monotonic() - started < 5.0
        assert (change.kind, change.id, change.digest) == ("credential", id, hex_digest(secret))
        assert change.seq > first.seq
        assert abs(time.time() - change.at_ns / 1e9) < 30
        known = await policy.resolve(Query(digest=hex_digest(secret)))
        assert known.seq == change.seq
        assert known.policy is not None
        assert (known.policy.id, known.policy.organization, known.policy.status) == (id, "default", "active")
        await made.revoke_key(id)
        # Not poked: it looks by itself.
        assert (await next_change(changes)).id == id
        revoked = await policy.resolve(Query(digest=hex_digest(secret)))
        assert revoked.policy is not None
        assert revoked.policy.status == "revoked"
    await policy.close()


async def test_what_a_data_plane_knows_by_itself_is_not_told(shared: RunningSidecar) -> None:
    policy = EmbeddedPolicy(shared.address, MASTER)
    for secret in (MASTER, str(STATIC["key"]), "gw_live_nobody"):
        assert (await policy.resolve(Query(digest=hex_digest(secret)))).policy is None
    assert (await policy.resolve(Query(token="eyJhbGciOiJub25lIn0.e30.x"))).policy is None
    await policy.close()


def test_only_the_gateway_itself_may_ask(shared: RunningSidecar) -> None:
    paths = (
        ("POST", "/internal/resolve"),
        ("GET", "/internal/changes"),
        ("POST", "/internal/poke"),
        ("GET", "/internal/health"),
    )
    for value in ("", "0" * 64, internal_token("another-key"), "ü"):
        for method, path in paths:
            answer = shared.http.request(method, path, headers=[(HEADER.encode(), value.encode())])
            assert answer.status_code == 403, (method, path)
            assert answer.json()["error"]["code"] == "forbidden"
    until_heard_by(shared, 0)
    health = shared.http.get("/internal/health").json()
    assert health["status"] == "ok"
    assert health["pid"] == shared.process.pid
    assert health["seq"] > 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"digest": 5}',
        b'{"digest": "xyz"}',
        b'{"digest": "%s", "token": "x"}' % (b"a" * 64),
        b"x" * 70_000,
    ],
)
def test_a_question_that_makes_no_sense_is_refused(shared: RunningSidecar, body: bytes) -> None:
    answer = shared.http.post("/internal/resolve", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_query"


def test_only_its_user_reaches_the_socket(shared: RunningSidecar) -> None:
    path = Path(shared.address.removeprefix("unix:"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o700 & ~0o077
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def cpu_seconds(sidecar: RunningSidecar) -> float:
    """What its start has taken, about 1.5 on a machine with nothing else to do."""
    fields = Path(f"/proc/{sidecar.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_it_comes_back_after_a_kill(sidecar: RunningSidecar) -> None:
    policy = EmbeddedPolicy(sidecar.address, MASTER)
    async with accounts(sidecar.data_dir) as made, aclosing(policy.changes()) as changes:
        await next_change(changes)
        id, secret = await made.create_key()
        assert (await next_change(changes)).id == id
        assert sidecar.end(signal.SIGKILL) == -signal.SIGKILL
        with pytest.raises(PolicyUnavailable):
            await policy.resolve(Query(digest=hex_digest(secret)))
        # Committed while nobody was there to tell of it.
        await made.revoke_key(id)
        await asyncio.to_thread(sidecar.start)
        assert await asyncio.to_thread(cpu_seconds, sidecar) < 6.0
        change = await next_change(changes)
        assert (change.id, change.digest) == (id, hex_digest(secret))
        resolved = await policy.resolve(Query(digest=hex_digest(secret)))
        assert resolved.policy is not None
        assert resolved.policy.status == "revoked"
    await policy.close()


async def test_it_takes_up_a_changed_configuration_and_ends_while_it_is_heard(sidecar: RunningSidecar) -> None:
    policy = EmbeddedPolicy(sidecar.address, MASTER)
    async with accounts(sidecar.data_dir), aclosing(policy.changes()) as changes:
        await next_change(changes)
        sidecar.write({**sidecar.config, "plans": [{"name": "mine", "features": ["x"]}]})
        sidecar.process.send_signal(signal.SIGHUP)
        seen = set()
        while ("plan", "mine") not in seen:
            change = await next_change(changes)
            seen.add((change.kind, change.id))
        sidecar.wait_log("the configuration was taken up")
        sidecar.write({**sidecar.config, "plans": 5})
        sidecar.process.send_signal(signal.SIGHUP)
        assert "plans" in sidecar.wait_log("the configuration was not taken up")
        assert (await policy.resolve(Query(digest="0" * 64))).policy is None
        started = time.monotonic()
        assert await asyncio.to_thread(sidecar.end) == 0
        assert time.monotonic() - started < 10
        with pytest.raises(PolicyUnavailable, match="No such file"):
            await policy.resolve(Query(digest="0" * 64))
    await policy.close()


async def test_it_answers_on_tcp_too(tmp_path: Path) -> None:
    with running_sidecar({"sidecar": {"listen": "127.0.0.1:0"}}, tmp_path) as sidecar:
        tcp = sidecar.ready["urls"][1]
        policy = EmbeddedPolicy(tcp, MASTER)
        seq = sidecar.http.get("/internal/health").json()["seq"]
        assert await policy.resolve(Query(digest="0" * 64)) == Resolution(seq=seq)
        async with aclosing(policy.changes()) as changes:
            assert (await next_change(changes)).kind == "everything"
        await policy.close()
        async with httpx.AsyncClient(base_url=tcp) as client:
            assert (await client.get("/internal/health")).status_code == 403
            assert (await client.get("/nothing/here")).status_code == 404


def test_a_second_one_leaves_the_first_alone(shared: RunningSidecar) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)with 69.*another sidecar is already listening"):
        RunningSidecar(shared.config, shared.config_path.parent)
    assert shared.http.get("/internal/health").status_code == 200


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(RuntimeError, match=f"(?s)with 69.*sidecar.listen {listen}"):
            RunningSidecar({"sidecar": {"listen": listen}}, tmp_path)


def test_a_database_that_is_away_is_another_matter_than_a_faulty_configuration(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)with 75.*the sidecar cannot run now: .*database can"):
        RunningSidecar({"database_url": f"postgresql://u:hush@/x?host={tmp_path}"}, tmp_path)
    with pytest.raises(RuntimeError, match=r"(?s)with 78.*password"):
        RunningSidecar({"admin": {"email": "a@example.com", "password": "x"}}, tmp_path)
    with pytest.raises(RuntimeError, match=r"(?s)with 1:.*plans"):
        RunningSidecar({"plans": 5}, tmp_path)


async def test_two_share_a_database_from_their_first_start(postgres: PostgresServer, tmp_path: Path) -> None:
    database = postgres.url(await postgres.create())
    config = {"database_url": database, "keys": [STATIC]}
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    starting = [asyncio.to_thread(RunningSidecar, config, folder) for folder in folders]
    one, two = await asyncio.gather(*starting)
    try:
        policies = [EmbeddedPolicy(one.address, MASTER), EmbeddedPolicy(two.address, MASTER)]
        async with (
            accounts("", database) as made,
            aclosing(policies[0].changes()) as a,
            aclosing(policies[1].changes()) as b,
        ):
            first = [await next_change(a), await next_change(b)]
            assert first[0].seq == first[1].seq
            id, secret = await made.create_key()
            assert [(await next_change(changes)).id for changes in (a, b)] == [id, id]
            for policy in policies:
                known = await policy.resolve(Query(digest=hex_digest(secret)))
                assert known.policy is not None
                assert known.policy.id == id
        for policy in policies:
            await policy.close()
    finally:
        codes = [item.end() for item in (one, two)]
    assert codes == [0, 0]


def test_a_listener_that_leaves_is_forgotten(shared: RunningSidecar) -> None:
    until_heard_by(shared, 0)
    with shared.http.stream("GET", "/internal/changes?after=0") as stream:
        lines = stream.iter_lines()
        head = json.loads(next(lines))
        assert head["seq"] > 0
        assert [json.loads(next(lines))["seq"] for _ in range(head["seq"])] == list(range(1, head["seq"] + 1))
        # The heartbeat.
        assert next(lines) == ""
        until_heard_by(shared, 1)
    until_heard_by(shared, 0)


async def test_changes_go_through_redis_where_there_is_one(tmp_path: Path) -> None:
    with running_redis() as redis, running_sidecar({"redis_url": redis.url}, tmp_path) as sidecar:
        policy = policy_source(sidecar.address, MASTER, redis.url)
        async with accounts(sidecar.data_dir) as made, aclosing(policy.changes()) as changes:
            assert (await next_change(changes)).kind == "everything"
            id, secret = await made.create_key()
            started = time.monotonic()
            sidecar.http.post("/internal/poke").raise_for_status()
            change = await next_change(changes)
            while change.kind == "everything":
                change = await next_change(changes)
            assert time.monotonic() - started < 5.0
            assert (change.id, change.digest) == (id, hex_digest(secret))
            known = await policy.resolve(Query(digest=hex_digest(secret)))
            assert known.policy is not None
            assert known.seq >= change.seq
        await policy.close()
