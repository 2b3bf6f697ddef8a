"""The parts of a sidecar over real databases: its change log, what it prepares, what it takes up, what it resolves."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

import jwt
import pytest
from msgspec.structs import replace
from sqlalchemy import select, text

from gateway.bus.policy import Query
from gateway.domain.actor import SYSTEM
from gateway.domain.organizations.model import Organization
from gateway.domain.plans.model import Plan
from gateway.domain.users.model import User
from gateway.domain.work import Works
from gateway.kernel.errors import GatewayError, Kind
from gateway.settings.model import Admin, Key, Oidc, Settings
from gateway.settings.model import Plan as Configured
from gateway.sidecar.changes import StoredLog
from gateway.sidecar.feed import Feed
from gateway.sidecar.parts import NotNow, Sidecar, opened, plans_of
from gateway.store.engine import Store
from tests.support.postgres import PostgresServer
from tests.support.sidecar import MASTER

ISSUER = Oidc(issuer="http://127.0.0.1:9/realm", audience="gateway", default_organization="people")


async def change(works: Works, *ids: str) -> None:
    async with works.begin(SYSTEM) as work:
        for id in ids:
            work.changed("credential", id, b"\xab" * 32)


async def test_the_log_tells_what_was_committed_in_its_order(store: Store) -> None:
    log, works = StoredLog(store), Works(store, master_key=MASTER)
    assert (await log.last(), list(await log.since(0, 10))) == (0, [])
    await change(works, "key_1", "key_2")
    with suppress(ZeroDivisionError):
        async with works.begin(SYSTEM) as work:
            work.changed("user", "user_1")
            raise ZeroDivisionError
    await change(works, "key_3")
    told = await log.since(0, 10)
    assert [item.id for item in told] == ["key_1", "key_2", "key_3"]
    assert [item.seq for item in told] == [1, 2, 3]
    assert {item.digest for item in told} == {"ab" * 32}
    assert [item.id for item in await log.since(1, 1)] == ["key_2"]
    assert await log.last() == 3


async def test_a_pruned_log_tells_of_the_gap(store: Store) -> None:
    log, works = StoredLog(store), Works(store, master_key=MASTER)
    for n in range(6):
        await change(works, f"key_{n}")
    await log.prune(2)
    assert [item.seq for item in await log.since(4, 10)] == [5, 6]
    (gap,) = await log.since(1, 10)
    assert (gap.kind, gap.seq) == ("everything", 6)
    await change(works, "key_7")
    assert await log.last() == 7


async def test_a_commit_of_this_process_is_told_at_once(store: Store) -> None:
    feed = Feed(StoredLog(store))
    works = Works(store, master_key=MASTER, on_commit=feed.poke)
    async with feed:
        told = feed.subscribe(None)
        await anext(told)
        await change(works, "key_1")
        item = await anext(told)
        assert not isinstance(item, int | None)
        assert item.id == "key_1"
        await told.aclose()


def settings(tmp_path: Path, **fields: object) -> Settings:
    return Settings(data_dir=str(tmp_path / "data"), **fields)  # type: ignore[arg-type]


async def names(sidecar: Sidecar) -> tuple[set[str], set[str], set[str]]:
    """The organisations, the plans and the users there are."""
    async with sidecar.works.read(SYSTEM) as work:
        organizations = await work.session.scalars(select(Organization.id))
        plans = await work.session.scalars(select(Plan.name).where(Plan.status == "active"))
        return set(organizations), set(plans), set(await work.session.scalars(select(User.email)))


async def test_what_the_configuration_names_is_there_from_the_start(tmp_path: Path) -> None:
    given = settings(
        tmp_path,
        keys=(Key(key="gw_live_static", name="s", organization="acme"),),
        oidc=(ISSUER,),
        admin=Admin(email="Root@Example.com", password="correct horse"),
    )
    for _ in range(2):
        async with opened(given, MASTER) as sidecar:
            organizations, plans, users = await names(sidecar)
            assert organizations == {"default", "acme", "people"}
            assert "enterprise" in plans
            assert users == {"root@example.com"}
            assert sidecar.feed.seq == await StoredLog(sidecar.store).last()


async def test_what_is_rarely_needed_is_not_loaded(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from gateway.settings.model import Settings\n"
        "from gateway.sidecar.app import create_app\n"
        "from gateway.sidecar.parts import opened\n"
        "async def main():\n"
        "    async with opened(Settings(data_dir=sys.argv[1]), 'gw_test_master_key') as sidecar:\n"
        "        create_app(sidecar)\n"
        "asyncio.run(main())\n"
        "print(*(name for name in ('alembic', 'httpx', 'jwt', 'cryptography', 'redis') if name in sys.modules))\n"
    )
    for expected in (b"alembic", b""):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-c", code, str(tmp_path / "data"), stdout=asyncio.subprocess.PIPE
        )
        told, _ = await process.communicate()
        assert (process.returncode, told.strip()) == (0, expected)


async def test_a_changed_configuration_is_taken_up(tmp_path: Path) -> None:
    async with opened(settings(tmp_path), MASTER) as sidecar:
        before = sidecar.authenticator
        mine = settings(
            tmp_path, plans=(Configured(name="mine"),), keys=(Key(key="gw_live_x", name="x", organization="late"),)
        )
        await sidecar.configure(mine)
        organizations, plans, _ = await names(sidecar)
        assert "late" in organizations
        assert plans == {"mine"}
        assert sidecar.settings is mine
        assert sidecar.authenticator is not before
        token = jwt.encode({"iss": ISSUER.issuer, "sub": "x"}, "k" * 32, headers={"kid": "x"})
        assert (await sidecar.resolve(Query(token=token))).policy is None
        for audience in ("a", "b", "c"):
            await sidecar.configure(replace(mine, oidc=(replace(ISSUER, audience=audience),)))
        # Now the token's issuer is known, and away.
        with pytest.raises(GatewayError) as caught:
            await sidecar.resolve(Query(token=token))
        assert caught.value.kind is Kind.UNAVAILABLE


async def test_a_faulty_administrator_changes_nothing(tmp_path: Path) -> None:
    async with opened(settings(tmp_path), MASTER) as sidecar:
        was = sidecar.settings
        with pytest.raises(GatewayError, match="password"):
            await sidecar.configure(settings(tmp_path, admin=Admin(email="a@example.com", password="x")))
        assert sidecar.settings is was
        assert (await names(sidecar))[2] == set()


async def test_a_token_that_is_over_is_told_from_one_that_is_none(tmp_path: Path) -> None:
    given = settings(tmp_path, admin=Admin(email="root@example.com", password="correct horse"))
    async with opened(given, MASTER) as sidecar:
        session = await sidecar.sessions.sign_in("root@example.com", "correct horse")
        token = session.tokens.access_token
        good = (await sidecar.resolve(Query(token=token))).policy
        assert good is not None
        assert (good.kind, good.status, good.user) == ("jwt", "active", session.user.id)
        short = replace(given, jwt=replace(given.jwt, access_ttl=0.001))
        await sidecar.configure(short)
        over = (await sidecar.sessions.sign_in("root@example.com", "correct horse")).tokens.access_token
        assert (await sidecar.resolve(Query(token=token[:-8] + "AAAAAAAA"))).policy is None
        sidecar.works._clock = lambda was=sidecar.works._clock: was().replace(year=was().year + 1)  # type: ignore[misc]
        late = (await sidecar.resolve(Query(token=over))).policy
        assert late is not None
        assert late.status == "expired"


def test_the_shipped_plans_are_those_of_the_references() -> None:
    shipped = {plan.name for plan in plans_of(Settings())}
    assert len(shipped) > 5
    assert plans_of(Settings(plans=(Configured(name="mine"),))) == (Configured(name="mine"),)


async def test_a_database_that_is_away_may_come_back(tmp_path: Path) -> None:
    with pytest.raises(NotNow, match="database can"):
        async with opened(settings(tmp_path, database_url=f"postgresql://u@/x?host={tmp_path}"), MASTER):
            pass


async def test_a_database_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    async with opened(settings(tmp_path), MASTER) as sidecar, sidecar.store.writing() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = 'from_the_future'"))
    with pytest.raises(NotNow, match="from_the_future"):
        async with opened(settings(tmp_path), MASTER):
            pass


async def test_it_runs_over_postgresql(postgres: PostgresServer, tmp_path: Path) -> None:
    given = settings(tmp_path, database_url=postgres.url(await postgres.create()))
    async with opened(given, MASTER) as sidecar:
        assert (await names(sidecar))[0] == {"default"}
        assert sidecar.feed.seq > 0
