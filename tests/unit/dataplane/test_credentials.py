"""Credentials learnt from the sidecar: held, bounded, and never older than the last change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from gateway.bus.embedded import EmbeddedPolicy
from gateway.bus.policy import PolicyUnavailable, Query
from gateway.contract.policy import Change, CredentialPolicy, LimitPolicy, Resolution
from gateway.dataplane import credentials
from gateway.dataplane.admission.registry import Limiter, Registry
from gateway.dataplane.auth import Credential, check, check_inference
from gateway.dataplane.credentials import Learnt, query_for
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.secrets import Seal, digest_of
from gateway.settings.model import Server, Settings, Sidecar
from tests.support.changes import MemoryLog
from tests.support.sidecar import MASTER, internal_api


class Accounts:
    """A policy source whose answers the test decides, and lets go when it wants to."""

    def __init__(self) -> None:
        self.known: dict[str, CredentialPolicy] = {}
        self.seq = 1
        self.asked: list[Query] = []
        self.gate: asyncio.Event | None = None
        self.down = False
        self.connected = True

    def add(self, secret: bytes, identity: str, **fields: object) -> bytes:
        """Make a credential known."""
        policy = CredentialPolicy(identity, identity, "api_key", "acme", **fields)  # type: ignore[arg-type]
        self.known[digest_of(secret).hex()] = policy
        return secret

    async def resolve(self, query: Query) -> Resolution:
        self.asked.append(query)
        if self.down:
            raise PolicyUnavailable("no sidecar")
        answer = Resolution(self.seq, self.known.get(query.digest or ""))
        if self.gate is not None:
            await self.gate.wait()
        return answer

    async def changes(self) -> AsyncGenerator[Change | None, None]:
        yield None

    async def close(self) -> None:
        pass

    def change(self, kind: str, identity: str, digest: bytes | None = None) -> Change:
        """The next change."""
        self.seq += 1
        hexed = None if digest is None else digest.hex()
        return Change(self.seq, time.time_ns(), kind, identity, hexed)  # type: ignore[arg-type]


@pytest.fixture
def accounts() -> Accounts:
    return Accounts()


def learnt_from(accounts: Accounts, cache: int = 100, grace: float = 100.0) -> Learnt:
    return Learnt(accounts, Registry(), Settings(sidecar=Sidecar(cache=cache, grace=grace)))


async def find(learnt: Learnt, secret: bytes) -> Credential:
    """As a request does."""
    held = learnt.get(digest_of(secret), secret)
    return held if held is not None else await learnt.ask(secret)


async def test_what_is_held_is_not_asked_for_again(accounts: Accounts) -> None:
    learnt = learnt_from(accounts)
    secret = accounts.add(b"gw_live_one", "key_1", limits=(LimitPolicy("key", "key_1", "requests", 5, "hour"),))
    first = await find(learnt, secret)
    assert await find(learnt, secret) is first
    assert len(accounts.asked) == 1
    assert [counter.count.limit for counter in first.limiter.counters] == [5]


async def test_many_that_want_the_same_ask_once(accounts: Accounts) -> None:
    learnt = learnt_from(accounts)
    secret = accounts.add(b"gw_live_one", "key_1")
    found = await asyncio.gather(*(find(learnt, secret) for _ in range(50)))
    assert len({id(one) for one in found}) == 1
    assert len(accounts.asked) == 1


async def test_a_client_that_leaves_does_not_take_the_answer_from_the_others(accounts: Accounts) -> None:
    learnt = learnt_from(accounts)
    secret = accounts.add(b"gw_live_one", "key_1")
    accounts.gate = asyncio.Event()
    first, second = (asyncio.ensure_future(learnt.ask(secret)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    accounts.gate.set()
    assert (await second).id == "key_1"
    assert first.cancelled() or first.done()


async def test_who_nobody_knows_is_remembered_for_a_while(accounts: Accounts) -> None:
    learnt = learnt_from(accounts)
    for _ in range(3):
        with pytest.raises(GatewayError) as refusal:
            await find(learnt, b"gw_live_nobody")
        assert refusal.value.kind is Kind.UNAUTHENTICATED
    assert len(accounts.asked) == 1
    # Made since: the change names its digest, and the next request finds it.
    accounts.add(b"gw_live_nobody", "key_2")
    learnt.heard(accounts.change("credential", "key_2", digest_of(b"gw_live_nobody")))
    assert (await find(learnt, b"gw_live_nobody")).id == "key_2"


async def test_a_flood_of_unknown_keys_takes_no_more_room(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "UNKNOWN_MOST", 10)
    learnt = learnt_from(accounts)
    for number in range(50):
        with pytest.raises(GatewayError):
            await find(learnt, b"gw_live_%d" % number)
    assert len(learnt._unknown) == 10
    assert len(learnt) == 0


@pytest.mark.parametrize(
    ("kind", "identity"),
    [
        ("credential", "key_1"),
        ("user", "user_1"),
        ("organization", "acme"),
        ("plan", "pro"),
        ("app", "app_1"),
        ("everything", ""),
    ],
)
async def test_a_change_of_anything_it_depends_on_drops_it(accounts: Accounts, kind: str, identity: str) -> None:
    learnt = learnt_from(accounts)
    secret = accounts.add(b"gw_live_one", "key_1", user="user_1", plan="pro", app="app_1")
    other = accounts.add(b"gw_live_two", "key_2", status="active")
    before = await find(learnt, secret)
    await find(learnt, other)
    accounts.add(b"gw_live_one", "key_1", status="revoked")
    learnt.heard(accounts.change(kind, identity))
    after = await find(learnt, secret)
    assert before.policy.status == "active"
    assert after.policy.status == "revoked"
    assert after.guarded
    with pytest.raises(GatewayError, match="revoked"):
        check(after, None, None)


async def test_a_change_that_it_was_told_with_leaves_it(accounts: Accounts) -> None:
    """The sidecar may be gone when the change is heard at last: then who was told of it must not be refused."""
    learnt = learnt_from(accounts)
    secret = accounts.add(b"gw_live_one", "key_1")
    made = accounts.change("credential", "key_1", digest_of(secret))
    told = await find(learnt, secret)
    accounts.down = True
    learnt.heard(made)
    assert await find(learnt, secret) is told
    learnt.heard(accounts.change("credential", "key_1"))
    with pytest.raises(GatewayError):
        await find(learnt, secret)


async def test_an_answer_that_was_under_way_brings_no_old_record_back(accounts: Accounts) -> None:
    learnt = learnt_from(accounts)
    secret = accounts.add(b"gw_live_one", "key_1")
    accounts.gate = asyncio.Event()
    asking = asyncio.ensure_future(learnt.ask(secret))
    await asyncio.sleep(0)
    while not accounts.asked:  # noqa: ASYNC110 - until the question is under way
        await asyncio.sleep(0)
    # The old answer is on its way; now the key is revoked and the change overtakes it.
    accounts.add(b"gw_live_one", "key_1", status="revoked")
    learnt.heard(accounts.change("credential", "key_1", digest_of(secret)))
    accounts.gate.set()
    assert (await asking).policy.status == "revoked"
    assert (await find(learnt, secret)).policy.status == "revoked"


async def test_the_least_used_make_room(accounts: Accounts) -> None:
    learnt = learnt_from(accounts, cache=3)
    secrets = [accounts.add(b"gw_live_%d" % number, f"key_{number}") for number in range(6)]
    for secret in secrets[:3]:
        await find(learnt, secret)
    await find(learnt, secrets[0])  # used again: it gets a second chance
    await find(learnt, secrets[3])
    assert len(learnt) == 3
    assert learnt.get(digest_of(secrets[0]), b"") is not None
    assert learnt.get(digest_of(secrets[1]), b"") is None
    assert learnt.evicted == 1
    for secret in secrets:
        await find(learnt, secret)
    assert len(learnt) == 3
    held = set().union(*learnt._digests.values())
    assert len(held) == 3, "nothing of what was evicted stays behind"


async def test_what_is_held_works_on_while_the_sidecar_is_away(accounts: Accounts) -> None:
    learnt = learnt_from(accounts)
    secret = accounts.add(b"gw_live_one", "key_1")
    await find(learnt, secret)
    accounts.down, accounts.connected = True, False
    learnt.watch()
    assert (await find(learnt, secret)).id == "key_1"
    with pytest.raises(GatewayError) as refusal:
        await find(learnt, b"gw_live_two")
    assert (refusal.value.kind, refusal.value.code) == (Kind.UNAVAILABLE, "credentials_unavailable")
    assert refusal.value.retry_after


async def test_but_not_beyond_the_grace(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    learnt = learnt_from(accounts, grace=60.0)
    secret = accounts.add(b"gw_live_one", "key_1")
    await find(learnt, secret)
    accounts.down, accounts.connected = True, False
    learnt.watch()
    later = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: later)
    with pytest.raises(GatewayError) as refusal:
        await find(learnt, secret)
    assert refusal.value.kind is Kind.UNAVAILABLE
    # Heard of again: what was held is good again until told otherwise.
    accounts.down, accounts.connected = False, True
    learnt.heard(None)
    assert learnt.get(digest_of(secret), secret) is not None


def guarded(**fields: object) -> Credential:
    policy = CredentialPolicy("key_1", "key_1", "api_key", "acme", **fields)  # type: ignore[arg-type]
    found = Credential(policy, Limiter(()), "live")
    assert found.guarded
    return found


@pytest.mark.parametrize(
    ("fields", "address", "kind", "code"),
    [
        ({"status": "revoked"}, None, Kind.UNAUTHENTICATED, "revoked_api_key"),
        ({"status": "expired"}, None, Kind.UNAUTHENTICATED, "expired_api_key"),
        ({"status": "disabled"}, None, Kind.UNAUTHENTICATED, "disabled_api_key"),
        ({"status": "suspended"}, None, Kind.SUSPENDED, "tenant_suspended"),
        ({"status": "suspended", "app": "app_1"}, None, Kind.SUSPENDED, "app_suspended"),
        ({"expires_at": 1.0}, None, Kind.UNAUTHENTICATED, "expired_api_key"),
        ({"environment": "test"}, None, Kind.FORBIDDEN, "wrong_environment"),
        ({"cidrs": ("10.0.0.0/8",)}, "192.0.2.1", Kind.FORBIDDEN, "address_not_allowed"),
        ({"cidrs": ("10.0.0.0/8",)}, None, Kind.FORBIDDEN, "address_not_allowed"),
        ({"cidrs": ("2001:db8::/32",)}, "10.0.0.1", Kind.FORBIDDEN, "address_not_allowed"),
        ({"inference": False}, None, Kind.FORBIDDEN, "insufficient_permissions"),
    ],
)
def test_a_guarded_credential_says_why_not(
    fields: dict[str, object], address: str | None, kind: Kind, code: str
) -> None:
    def use() -> None:
        caller = guarded(**fields)
        check(caller, address, "live")
        check_inference(caller)

    with pytest.raises(GatewayError) as refusal:
        use()
    assert (refusal.value.kind, refusal.value.code) == (kind, code)


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3"])
def test_an_address_within_is_let_in(address: str) -> None:
    check(guarded(cidrs=("10.0.0.0/8",)), address, "live")


def test_only_a_token_is_sent_whole() -> None:
    digest = b"\x01" * 32
    assert query_for(b"gw_live_x", digest) == Query(digest=digest.hex())
    assert query_for(b"eyJh.eyJp.c2ln", digest) == Query(token="eyJh.eyJp.c2ln")
    assert query_for(b"app_1:sk_2", digest) == Query(digest=digest.hex(), app="app_1")


def test_a_new_configuration_is_asked_for_anew(accounts: Accounts) -> None:
    learnt = learnt_from(accounts)
    learnt._unknown[b"x"] = time.monotonic() + 60
    learnt.configure(Settings(server=Server(environment="test")))
    assert learnt.get(b"x", b"") is None
    assert learnt.environment == "test"


async def test_made_up_keys_do_not_keep_the_sidecar_from_real_ones(accounts: Accounts) -> None:
    seal = Seal("gw_test_master_key")
    learnt = Learnt(accounts, Registry(), Settings(), seal)
    refused = 0
    for number in range(1_000):
        with pytest.raises(GatewayError) as refusal:
            await find(learnt, b"gw_live_made_up_%d" % number)
        refused += refusal.value.kind is Kind.UNAVAILABLE
    assert len(accounts.asked) + refused == 1_000
    assert refused == learnt.doubted >= 750
    before = len(accounts.asked)
    for number in range(300):
        body = b"gw_live_%d" % number
        secret = accounts.add(body + seal.mark(body), f"key_{number}")
        assert (await find(learnt, secret)).id == f"key_{number}"
    assert len(accounts.asked) == before + 300
    # Tokens have a share of their own: a flood of keys does not keep people from signing in.
    with pytest.raises(GatewayError) as refusal:
        await find(learnt, b"eyJh.eyJp.c2ln")
    assert refusal.value.kind is Kind.UNAUTHENTICATED


def test_a_secret_carries_its_mark_alone_or_behind_an_apps_name() -> None:
    seal = Seal("gw_test_master_key")
    secret = b"sk_abc" + seal.mark(b"sk_abc")
    assert seal.holds(secret)
    assert seal.holds(b"app_1:" + secret)
    assert not seal.holds(secret[:-1] + b"!")
    assert not seal.holds(b"")
    assert not Seal("gw_test_other_key").holds(secret)


async def test_a_sidecar_that_is_only_being_started_is_waited_for(accounts: Accounts) -> None:
    learnt = learnt_from(accounts)
    secret = accounts.add(b"gw_live_one", "key_1")
    accounts.down = True
    learnt.expected_by = time.monotonic() + 60
    asking = asyncio.ensure_future(learnt.ask(secret))
    while not accounts.asked:  # noqa: ASYNC110 - until the question is under way
        await asyncio.sleep(0)
    accounts.down = False
    assert (await asking).id == "key_1"
    learnt.heard(None)
    accounts.down = True
    with pytest.raises(GatewayError) as refusal:
        await learnt.ask(b"gw_live_two")
    assert refusal.value.kind is Kind.UNAVAILABLE, "one that was there and is gone is not waited for"


async def test_an_answer_that_was_overtaken_sets_no_limit_back(accounts: Accounts) -> None:
    learnt = learnt_from(accounts)

    def limited(most: int) -> tuple[LimitPolicy, ...]:
        return (LimitPolicy("organization", "acme", "requests", most, "hour"),)

    accounts.add(b"gw_live_new", "key_2", limits=limited(5))
    held = await find(learnt, b"gw_live_new")
    accounts.add(b"gw_live_old", "key_1", limits=limited(50))
    resolve = accounts.resolve

    async def overtaken(query: Query) -> Resolution:
        answer = await resolve(query)
        learnt.heard(accounts.change("credential", "key_9"))
        return answer

    accounts.resolve = overtaken  # type: ignore[method-assign]
    late = await find(learnt, b"gw_live_old")
    assert late.limiter.counters[0] is held.limiter.counters[0]
    assert held.limiter.counters[0].count.limit == 5


async def test_one_asked_for_anew_leaves_nothing_of_before(accounts: Accounts) -> None:
    learnt = learnt_from(accounts, cache=2, grace=0.0)
    accounts.add(b"gw_live_other", "key_2")
    other = await find(learnt, b"gw_live_other")
    accounts.add(b"gw_live_one", "key_1", plan="small")
    await find(learnt, b"gw_live_one")
    accounts.connected = False
    learnt.watch()
    accounts.add(b"gw_live_one", "key_1", plan="large")
    again = await find(learnt, b"gw_live_one")
    assert again.plan == "large"
    accounts.connected = True
    learnt.heard(None)
    assert await find(learnt, b"gw_live_other") is other, "nobody made room for what was there already"
    assert ("plan", "small") not in learnt._digests


async def test_a_worker_that_starts_learns_every_key_and_refuses_none(tmp_path: Path) -> None:
    seal = Seal(MASTER)
    bodies = [b"gw_live_%035d" % number for number in range(5_000)]
    secrets = [body + seal.mark(body) for body in bodies]
    async with internal_api(tmp_path / "s", MemoryLog()) as api:
        for secret in secrets:
            digest = digest_of(secret).hex()
            api.answers[digest] = Resolution(1, CredentialPolicy(digest, "k", "api_key", "acme"))
        learnt = Learnt(EmbeddedPolicy(f"unix:{tmp_path / 's'}", MASTER), Registry(), Settings(), seal)
        found = await asyncio.gather(*(find(learnt, secret) for secret in secrets))
        assert [one.id for one in found] == [digest_of(secret).hex() for secret in secrets]
        assert (len(learnt), learnt.doubted) == (5_000, 0)
        # A question for each would have been 5,000.
        assert len(api.batches) < 50
        await learnt.close()


async def test_only_so_many_are_looked_up_at_a_time(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "ASKING_MOST", 10)
    learnt = learnt_from(accounts)
    accounts.gate = asyncio.Event()
    secrets = [accounts.add(b"gw_live_%d" % number, f"key_{number}") for number in range(12)]
    asking = [asyncio.ensure_future(find(learnt, secret)) for secret in secrets]
    while len(accounts.asked) < 10:  # noqa: ASYNC110 - until the questions are under way
        await asyncio.sleep(0)
    same = asyncio.ensure_future(find(learnt, secrets[0]))  # adds none
    await asyncio.sleep(0)
    accounts.gate.set()
    assert (await same).id == "key_0"
    told = await asyncio.gather(*asking, return_exceptions=True)
    assert [one.id for one in told if isinstance(one, Credential)] == [f"key_{number}" for number in range(10)]
    assert [one.kind for one in told[10:] if isinstance(one, GatewayError)] == [Kind.UNAVAILABLE] * 2


async def test_one_that_was_here_is_found_again_without_its_secret(accounts: Accounts) -> None:
    learnt = learnt_from(accounts)
    secret = accounts.add(b"app_1:sk_one", "key_1")
    first = await find(learnt, secret)
    digest = digest_of(secret)
    assert await learnt.again(digest, "app_1") is first
    learnt.heard(accounts.change("credential", "key_1", digest))
    again = await learnt.again(digest, "app_1")
    assert (again.id, again is first) == ("key_1", False)
    assert accounts.asked[1:] == [Query(digest=digest.hex(), app="app_1")]
    del accounts.known[digest.hex()]
    learnt.heard(accounts.change("credential", "key_1", digest))
    for _ in range(2):
        with pytest.raises(GatewayError) as raised:
            await learnt.again(digest, "app_1")
        assert raised.value.code == "invalid_api_key"
    assert len(accounts.asked) == 3
