"""Units of work: what they leave behind when they end well, and when they don't."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from gateway.domain.actor import SYSTEM, Actor
from gateway.domain.audit.model import AuditRecord
from gateway.domain.changes import repo as changes
from gateway.domain.work import Works
from gateway.store.engine import Store

MASTER_KEY = "gw_live_of_the_tests"
NOW = datetime(2026, 3, 4, 5, 6, 7, 890123, UTC)
ACTOR = Actor(
    kind="user",
    id="user_1",
    organization="acme",
    user="user_1",
    email="a@example.com",
    address="192.0.2.1",
    user_agent="agent",
    request_id="req_1",
)


class Calls:
    """Counts the commits that changed policy."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def works(store: Store, calls: Calls) -> Works:
    return Works(store, master_key=MASTER_KEY, on_commit=calls, clock=lambda: NOW)


async def records(works: Works) -> list[AuditRecord]:
    async with works.read(SYSTEM) as work:
        return list(await work.session.scalars(select(AuditRecord).order_by(AuditRecord.seq)))


async def test_a_record_tells_who_did_what_from_where(works: Works) -> None:
    async with works.begin(ACTOR) as work:
        await work.audit(
            "limit.set", "limit", "limit_1", before={"limit": 1, "at": NOW}, after={"limit": 2.5}, metadata={"why": "é"}
        )
    (found,) = await records(works)
    told: dict[str, Any] = {name: getattr(found, name) for name in AuditRecord.__mapper__.column_attrs.keys()}  # noqa: SIM118
    assert told["id"].startswith("aud_")
    assert {name: told[name] for name in ("seq", "at", "actor_kind", "actor_id", "actor_user", "actor_email")} == {
        "seq": 1,
        "at": NOW,
        "actor_kind": "user",
        "actor_id": "user_1",
        "actor_user": "user_1",
        "actor_email": "a@example.com",
    }
    assert (found.organization, found.action, found.resource_type, found.resource_id) == (
        "acme",
        "limit.set",
        "limit",
        "limit_1",
    )
    assert found.before == {"limit": 1, "at": "2026-03-04T05:06:07.890123+00:00"}
    assert (found.after, found.details) == ({"limit": 2.5}, {"why": "é"})
    assert (found.address, found.user_agent, found.request_id) == ("192.0.2.1", "agent", "req_1")


async def test_changes_are_told_after_the_commit_in_its_order(works: Works, calls: Calls) -> None:
    async with works.begin(SYSTEM) as work:
        work.changed("credential", "key_1", b"\x01" * 32)
        work.changed("organization", "acme")
        assert calls.count == 0
    assert calls.count == 1
    async with works.read(SYSTEM) as work:
        found = await changes.after(work.session, 0)
        assert await changes.current(work.session) == 2
    assert [(item.seq, item.kind, item.id, item.digest) for item in found] == [
        (1, "credential", "key_1", "01" * 32),
        (2, "organization", "acme", None),
    ]
    assert found[0].at_ns == int(NOW.timestamp()) * 10**9 + 890123000


async def test_what_fails_leaves_nothing_but_the_record_of_its_failure(works: Works, calls: Calls) -> None:
    async def fail() -> None:
        async with works.begin(ACTOR) as work:
            await work.audit("a.done", "thing", "1")
            await work.audit("a.refused", "thing", "2", status="denied", severity="warning")
            work.changed("user", "user_1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    (found,) = await records(works)
    assert (found.action, found.status, found.resource_id) == ("a.refused", "denied", "2")
    assert calls.count == 0
    async with works.read(SYSTEM) as work:
        assert await changes.current(work.session) == 0


async def test_a_work_without_changes_tells_nobody(works: Works, calls: Calls) -> None:
    async with works.begin(SYSTEM) as work:
        await work.audit("a.done", "thing", "1")
    assert calls.count == 0


async def test_text_no_database_takes_is_made_fit(works: Works) -> None:
    odd = Actor(kind="user", id="user_1", user_agent="a\0b\ud800" + "c" * 900, request_id="r" * 500)
    async with works.begin(odd) as work:
        await work.audit("a.done", "thing", "x\0y", after={"text": "\0\ud800"})
    (found,) = await records(works)
    assert found.resource_id == "x\ufffdy"
    assert found.user_agent is not None
    assert found.user_agent.startswith("a\ufffdb\ufffdc")
    assert len(found.user_agent) == 255
    assert len(found.request_id or "") == 128
    assert found.after == {"text": "\0\ud800"}


@pytest.mark.parametrize("value", [{"a": object()}, {"a": float("nan")}, {"a": b"secret"}])
async def test_what_is_no_json_is_refused_when_it_is_recorded(works: Works, value: dict[str, Any]) -> None:
    async with works.begin(SYSTEM) as work:
        with pytest.raises((TypeError, ValueError)):
            await work.audit("a.done", "thing", "1", after=value)


async def test_changes_are_numbered_in_the_order_of_the_commits(works: Works) -> None:
    """A reader that polls meanwhile never sees a number after a higher one."""
    seen: list[int] = []

    async def write(number: int) -> None:
        async with works.begin(SYSTEM) as work:
            await work.audit("a.done", "thing", str(number))
            work.changed("user", str(number))

    async def watch() -> None:
        while len(seen) < 60:
            async with works.read(SYSTEM) as work:
                seen.extend(item.seq for item in await changes.after(work.session, seen[-1] if seen else 0))

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(watch())
        for number in range(60):
            group.create_task(write(number))
    assert seen == sorted(seen)
    assert len(set(seen)) == 60


async def test_a_reader_that_was_away_too_long_starts_anew(works: Works) -> None:
    for number in range(5):
        async with works.begin(SYSTEM) as work:
            work.changed("user", str(number))
    async with works.begin(SYSTEM) as work:
        await changes.prune(work.session, keep=2)
    async with works.read(SYSTEM) as work:
        session = work.session
        assert [(item.seq, item.kind) for item in await changes.after(session, 2)] == [(5, "everything")]
        assert [(item.seq, item.id) for item in await changes.after(session, 3)] == [(4, "3"), (5, "4")]
        assert await changes.after(session, 5) == []


def test_an_actor_is_confined_to_its_organization() -> None:
    actor = Actor(kind="user", id="user_1", organization="acme", permissions=frozenset({"admin:*"}))
    assert actor.may("keys:write")
    assert actor.may("keys:write", "acme")
    assert not actor.may("keys:write", "other")
    assert not actor.may("credits:write", "acme")
    assert Actor(kind="user", id="user_1", role="platform_admin").may("credits:write", "other")
    assert Actor(kind="master", id="master").may("keys:write", "other")


@pytest.mark.parametrize(
    ("held", "asked", "expected"),
    [
        ("keys:read", "keys:read", True),
        ("keys:read", "keys:write", False),
        ("keys:*", "keys:write", True),
        ("*:read", "costs:read", True),
        ("*:read", "costs:write", False),
        ("*:read", "inference", False),
        ("admin:*", "inference", True),
        ("*", "anything", True),
        ("keys", "keys:read", False),
    ],
)
def test_wildcards_cover_what_they_say(held: str, asked: str, expected: bool) -> None:
    actor = Actor(kind="credential", id="key_1", organization="acme", permissions=frozenset({held}))
    assert actor.may(asked) is expected
