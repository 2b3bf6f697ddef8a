"""The audit chain: whatever is done to it behind the gateway's back shows, and where."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from gateway.domain.actor import SYSTEM
from gateway.domain.audit import chain
from gateway.domain.audit.model import AuditHead, AuditRecord
from gateway.domain.audit.verification import Anchor, Report, verify
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.work import Works
from gateway.store.engine import Store

MASTER_KEY = "gw_live_of_the_tests"
RECORDS = 6


@pytest.fixture
async def works(store: Store) -> Works:
    """Works over a log of six records."""
    works = Works(store, master_key=MASTER_KEY)
    for number in range(RECORDS):
        async with works.begin(SYSTEM) as work:
            await work.audit("thing.made", "thing", str(number), after={"number": number})
    return works


async def verified(works: Works, master_key: str = MASTER_KEY, anchor: Anchor | None = None) -> Report:
    async with works.read(SYSTEM) as work:
        return await verify(work, master_key, anchor)


async def tamper(works: Works, *statements: str) -> None:
    async with works.store.writing() as session:
        for statement in statements:
            await session.execute(text(statement))


async def rehash(works: Works, first: int) -> None:
    """What someone can do who knows how the chain is made and not the master key: hash it anew from a record on."""
    async with works.store.writing() as session:
        rows = [await session.get_one(AuditRecord, seq) for seq in range(first, RECORDS + 1)]
        last = rows[0].prev_hash
        for row in rows:
            row.prev_hash = last
            row.hash = last = chain.hash_of(row)
        head = await session.get_one(AuditHead, 1)
        head.hash, head.mac = last, chain.mac_of(chain.audit_key("another key"), head.seq, last)


async def test_an_untouched_log_is_intact(works: Works) -> None:
    report = await verified(works)
    assert (report.records, report.seq, report.broken) == (RECORDS, RECORDS, None)
    assert len(report.hash) == 64


async def test_an_empty_log_is_intact(store: Store) -> None:
    report = await verified(Works(store, master_key=MASTER_KEY))
    assert (report.records, report.seq, report.broken) == (0, 0, None)


@pytest.mark.parametrize(
    ("statement", "seq", "reason"),
    [
        ("UPDATE audit_records SET actor_id = 'another' WHERE seq = 3", 3, "changed"),
        ("""UPDATE audit_records SET after = '{"number": 7}' WHERE seq = 4""", 4, "changed"),
        ("UPDATE audit_records SET request_id = 'x' WHERE seq = 1", 1, "changed"),
        ("UPDATE audit_records SET status = 'failure' WHERE seq = 6", 6, "changed"),
        ("DELETE FROM audit_records WHERE seq = 1", 1, "missing"),
        ("DELETE FROM audit_records WHERE seq = 3", 3, "missing"),
        ("DELETE FROM audit_records WHERE seq > 4", 5, "cut off"),
        ("DELETE FROM audit_records", 1, "cut off"),
        ("DELETE FROM audit_head", 6, "head"),
        ("UPDATE audit_head SET seq = 5", 5, "signed"),
        ("UPDATE audit_records SET seq = 0 WHERE seq = 1", 0, "added"),
    ],
)
async def test_tampering_shows(works: Works, statement: str, seq: int, reason: str) -> None:
    await tamper(works, statement)
    report = await verified(works)
    assert report.broken is not None
    assert report.broken.seq == seq
    assert reason in report.broken.reason
    assert report.is_intact is False


async def test_every_field_is_covered(works: Works) -> None:
    columns = [column for column in AuditRecord.__table__.columns if column.name not in ("seq", "hash", "prev_hash")]
    for column in columns:
        nullable = "NULL" if column.nullable else None
        changed = {"at": "'2001-01-01 00:00:00'", "after": "NULL"}.get(column.name, nullable or "'changed'")
        if column.name in ("resource_id", "after") or not column.nullable:
            new = changed
        else:
            new = """'{"a": 1}'""" if column.name in ("before", "metadata") else "'changed'"
        async with works.store.writing() as session:
            kept = chain.hash_of(await session.get_one(AuditRecord, 2))
            await session.execute(text(f'UPDATE audit_records SET "{column.name}" = {new} WHERE seq = 2'))
            session.expire_all()
            assert chain.hash_of(await session.get_one(AuditRecord, 2)) != kept, column.name
            await session.rollback()


async def test_odd_values_are_read_as_they_were_hashed(store: Store) -> None:
    works = Works(store, master_key=MASTER_KEY)
    odd = {
        "big": 2**200, "small": -0.0, "tiny": 5e-324, "text": "\0\ud800é\U0001f600\u2028", "": None,
        "a": [{}, [], True], "keys": {"10": 1, "9": 2, "é": 3},
    }  # fmt: skip
    async with works.begin(SYSTEM) as work:
        await work.audit("thing.made\0", "thing\ud800", "\ud800\0é", before=odd, after={}, metadata=odd)
    assert (await verified(works)).is_intact


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_json_has_one_spelling(value: dict[str, Any]) -> None:
    spelled = chain.canonical(value)
    assert chain.canonical(json.loads(spelled)) == spelled
    assert chain.canonical(dict(reversed(value.items()))) == spelled
    assert chain.as_stored(value) == json.loads(json.dumps(value))


async def test_reordering_shows(works: Works) -> None:
    await tamper(
        works,
        "UPDATE audit_records SET seq = 99 WHERE seq = 2",
        "UPDATE audit_records SET seq = 2 WHERE seq = 3",
        "UPDATE audit_records SET seq = 3 WHERE seq = 99",
    )
    broken = (await verified(works)).broken
    assert broken is not None
    assert (broken.seq, "follow" in broken.reason) == (2, True)


async def test_a_chain_hashed_anew_shows_at_the_head(works: Works) -> None:
    await tamper(works, "UPDATE audit_records SET actor_id = 'another' WHERE seq = 3")
    await rehash(works, 3)
    broken = (await verified(works)).broken
    assert broken is not None
    assert "master key" in broken.reason


async def test_what_was_hashed_anew_is_not_made_good_by_the_next_record(works: Works) -> None:
    end = await verified(works)
    await tamper(works, "UPDATE audit_records SET actor_id = 'nobody' WHERE seq = 2")
    await rehash(works, 2)
    for number in range(2):
        async with works.begin(SYSTEM) as work:
            await work.audit("thing.made", "thing", f"later {number}")
    report = await verified(works)
    assert report.broken is not None
    assert report.broken.seq == RECORDS + 1
    assert "not signed with this master key" in report.broken.reason
    anchored = await verified(works, anchor=Anchor(end.seq, end.hash))
    assert anchored.broken is not None
    assert anchored.broken.seq == RECORDS


async def test_another_master_key_goes_on_from_what_was_verified_before(works: Works) -> None:
    end = await verified(works)
    other = Works(works.store, master_key="another key")
    async with other.begin(SYSTEM) as work:
        await work.audit("thing.made", "thing", "later")
    report = await verified(other, "another key")
    assert report.broken is not None
    assert report.broken.seq == RECORDS + 1
    kept = await verified(other, "another key", Anchor(end.seq, end.hash))
    assert kept.is_intact
    assert kept.records == RECORDS + 2
    assert (await verified(other, "another key", Anchor(kept.seq, kept.hash))).is_intact
    assert not (await verified(other, "another key", Anchor(end.seq - 1, "0" * 64))).is_intact


async def test_a_log_that_was_removed_as_a_whole_shows(works: Works) -> None:
    async with works.begin(SYSTEM) as work:
        await OrganizationService(work).ensure("acme")
    assert (await verified(works)).is_intact
    await tamper(works, "DELETE FROM audit_records", "DELETE FROM audit_head")
    gone = await verified(works)
    assert gone.broken is not None
    assert "acme" in gone.broken.reason
    async with works.begin(SYSTEM) as work:
        await work.audit("thing.made", "thing", "later")
    assert (await verified(works)).broken == gone.broken


async def test_a_record_added_without_the_master_key_shows(works: Works) -> None:
    forged = Works(works.store, master_key="another key")
    async with forged.begin(SYSTEM) as work:
        await work.audit("thing.made", "thing", "forged")
    broken = (await verified(works)).broken
    assert broken is not None
    assert "master key" in broken.reason


async def test_an_older_copy_shows_against_an_anchor(works: Works) -> None:
    earlier = await verified(works)
    anchor = Anchor(earlier.seq, earlier.hash)
    assert (await verified(works, anchor=anchor)).is_intact
    async with works.begin(SYSTEM) as work:
        await work.audit("thing.made", "thing", "one more")
    assert (await verified(works, anchor=anchor)).is_intact
    await tamper(works, "DELETE FROM audit_records", "DELETE FROM audit_head")
    assert (await verified(works)).is_intact
    broken = (await verified(works, anchor=anchor)).broken
    assert broken is not None
    assert "ends before record 6" in broken.reason
    for _ in range(RECORDS):
        async with works.begin(SYSTEM) as work:
            await work.audit("thing.made", "thing", "of another past")
    broken = (await verified(works, anchor=anchor)).broken
    assert broken is not None
    assert (broken.seq, "another record" in broken.reason) == (6, True)


WRITER = """
import asyncio, sys
from gateway.domain.actor import SYSTEM
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.work import Works
from gateway.store.engine import Store

async def main() -> None:
    store = Store.open(sys.argv[1], "")
    works = Works(store, master_key=sys.argv[2])
    async def one(number):
        async with works.begin(SYSTEM) as work:
            await work.audit("thing.made", "thing", str(number))
            work.changed("user", str(number))
    for start in range(0, 40, 8):
        await asyncio.gather(*(one(number) for number in range(start, start + 8)))
    await store.close()

asyncio.run(main())
"""


async def test_processes_that_append_at_once_keep_one_chain(database: str) -> None:
    command = [sys.executable, "-W", "error", "-c", WRITER, database, MASTER_KEY]
    running = [
        await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE, env=dict(os.environ))
        for _ in range(2)
    ]
    ended = await asyncio.gather(*(process.communicate() for process in running))
    assert [process.returncode for process in running] == [0, 0], ended
    store = Store.open(database, "")
    report = await verified(Works(store, master_key=MASTER_KEY))
    await store.close()
    assert (report.records, report.broken) == (80, None)
