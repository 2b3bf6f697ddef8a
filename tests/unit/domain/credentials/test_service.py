"""Keys: made, listed, changed, rotated, revoked; by whom, and what is told of it."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from gateway.domain.actor import Actor
from gateway.domain.credentials import repo
from gateway.domain.credentials.model import Credential
from gateway.domain.credentials.requests import CredentialFilter, CredentialUpdate, NewCredential
from gateway.domain.credentials.service import LONGEST_GRACE, MOST_FORMER, CredentialService
from gateway.domain.users.model import User
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.secrets import digest_of
from tests.support.accounts import MASTER, Accounts, signed_in, with_key


async def make(accounts: Accounts, actor: Actor = MASTER, **asked: Any) -> tuple[Credential, str]:
    new = NewCredential(**({"name": "k", "organization": "acme"} | asked))
    async with accounts.begin(actor) as work:
        return await CredentialService(work).create(new)


async def refused(accounts: Accounts, actor: Actor, **asked: Any) -> tuple[Kind, str, str | None]:
    with pytest.raises(GatewayError) as caught:
        await make(accounts, actor, **asked)
    return caught.value.kind, caught.value.code, caught.value.field


@pytest.fixture
async def user(accounts: Accounts) -> User:
    """A user of the organisation acme."""
    await accounts.organization("acme")
    return await accounts.user("ada@example.com", "acme")


async def test_a_key_is_shown_once_and_kept_as_a_digest(accounts: Accounts, user: User) -> None:
    row, secret = await make(accounts, signed_in(user), name=" My API Key ", environment="live")
    assert re.fullmatch(r"gw_live_[0-9A-Za-z]{51}", secret)
    assert (row.name, row.user_id, row.organization_id, row.environment) == ("My API Key", user.id, "acme", "live")
    assert row.masked == f"gw_live_…{secret[-4:]}"
    assert row.scopes == ["api:read", "api:write", "inference"]
    async with accounts.read(MASTER) as work:
        found = await repo.by_digest(work.session, digest_of(secret.encode()))
        assert found is not None
        assert (found.id, found.number) == (row.id, 1)
        rows = await work.session.execute(select(Credential.__table__))
        assert secret not in str(rows.all())
    assert await accounts.changes(after=await accounts.last_seq() - 1) == [
        ("credential", row.id, digest_of(secret.encode()).hex())
    ]


PREFIXES: list[tuple[dict[str, Any], str]] = [
    ({"environment": "test"}, "gw_test_"),
    ({"environment": "staging"}, "gw_staging_"),
    ({"environment": "development"}, "gw_dev_"),
    ({"environment": "dev"}, "gw_dev_"),
    ({"family": "sk"}, "sk_live_"),
    ({"family": "sk", "environment": "staging"}, "sk_test_"),
    ({"family": "sk", "scopes": ["admin:*"]}, "sk_admin_"),
]


async def test_what_a_key_begins_with(accounts: Accounts, user: User) -> None:
    for asked, prefix in PREFIXES:
        row, secret = await make(accounts, **asked)
        assert secret.startswith(prefix), asked
        assert row.prefix == prefix, asked


async def test_secrets_differ(accounts: Accounts, user: User) -> None:
    made = {(await make(accounts))[1] for _ in range(5)}
    assert len(made) == 5


async def test_every_change_is_audited_without_a_secret(accounts: Accounts, user: User) -> None:
    row, first = await make(accounts, scopes=["usage:write", "costs:read"])
    async with accounts.begin(MASTER) as work:
        service = CredentialService(work)
        await service.update(row.id, CredentialUpdate(name="renamed", is_active=False))
        _, second = await service.rotate(row.id, grace_seconds=60)
        await service.revoke(row.id)
        await service.revoke(row.id)
    actions = [action for action in await accounts.actions() if action.startswith("auth.api_key")]
    assert actions == [f"auth.api_key.{verb}" for verb in ("created", "updated", "rotated", "revoked")]
    (updated,) = await accounts.records("auth.api_key.updated")
    assert (updated.before, updated.after) == (
        {"name": "k", "status": "active"},
        {"name": "renamed", "status": "disabled"},
    )
    assert (updated.resource_id, updated.organization, updated.actor_kind) == (row.id, "acme", "master")
    everything = [
        (record.before, record.after, record.details) for action in actions for record in await accounts.records(action)
    ]
    for secret in (first, second):
        assert secret[-4:] not in str(everything)
        assert digest_of(secret.encode()).hex() not in str(everything)


async def test_a_change_that_changes_nothing_is_not_told(accounts: Accounts, user: User) -> None:
    row, _ = await make(accounts)
    before, actions = await accounts.last_seq(), await accounts.actions()
    async with accounts.begin(MASTER) as work:
        await CredentialService(work).update(row.id, CredentialUpdate(name="k", is_active=True, models=[]))
    assert await accounts.last_seq() == before
    assert await accounts.actions() == actions


async def test_what_is_not_given_stays_and_what_is_empty_goes(accounts: Accounts, user: User) -> None:
    until = accounts.clock.now + timedelta(days=1)
    row, _ = await make(accounts, models=["m", "n", "m"], cidrs=["10.1.2.3/8", "::ffff:192.0.2.1"], expires_at=until)
    assert (row.models, row.cidrs, row.expires_at) == (["m", "n"], ["10.0.0.0/8", "192.0.2.1/32"], until)
    async with accounts.begin(MASTER) as work:
        changed = await CredentialService(work).update(row.number, CredentialUpdate(models=[], expires_at=None))
    assert (changed.models, changed.cidrs, changed.expires_at) == ([], ["10.0.0.0/8", "192.0.2.1/32"], None)


async def test_rotation_keeps_the_key_and_lets_the_old_secret_live_for_the_grace(
    accounts: Accounts, user: User
) -> None:
    row, first = await make(accounts)
    before = await accounts.last_seq()
    async with accounts.begin(MASTER) as work:
        rotated, second = await CredentialService(work).rotate(row.id, grace_seconds=60)
    assert (rotated.id, rotated.number) == (row.id, row.number)
    assert first != second
    told = {digest for kind, id, digest in await accounts.changes(before) if (kind, id) == ("credential", row.id)}
    assert told == {digest_of(secret.encode()).hex() for secret in (first, second)}
    async with accounts.read(MASTER) as work:
        new = await repo.by_digest(work.session, digest_of(second.encode()))
        old = await repo.by_digest(work.session, digest_of(first.encode()))
        assert new is not None
        assert old is not None
        assert (new.id, new.replaced_by) == (row.id, None)
        assert (old.replaced_by, old.grace_until) == (row.id, accounts.clock.now + timedelta(seconds=60))
        listed = await CredentialService(work).list(CredentialFilter(organization="acme"))
        assert [item.id for item in listed.items] == [row.id]
        assert listed.total == 1
        with pytest.raises(GatewayError) as caught:
            await CredentialService(work).get(old.id)
        assert caught.value.kind is Kind.NOT_FOUND


async def test_dead_secrets_do_not_pile_up(accounts: Accounts, user: User) -> None:
    row, _ = await make(accounts)
    for _ in range(4):
        async with accounts.begin(MASTER) as work:
            await CredentialService(work).rotate(row.id)
        accounts.clock.advance(1)
    async with accounts.read(MASTER) as work:
        assert len(await repo.old_secrets(work.session, row.id)) == 1


async def test_only_so_many_former_secrets_are_good_at_once(accounts: Accounts, user: User) -> None:
    row, first = await make(accounts)
    for _ in range(MOST_FORMER + 1):
        async with accounts.begin(MASTER) as work:
            await CredentialService(work).rotate(row.id, grace_seconds=3_600)
    now = accounts.clock.now
    async with accounts.read(MASTER) as work:
        olds = await repo.old_secrets(work.session, row.id)
        assert sum(old.grace_until is not None and old.grace_until > now for old in olds) == MOST_FORMER
        dead = await repo.by_digest(work.session, digest_of(first.encode()))
        assert dead is not None
        assert dead.grace_until == now
    assert ("credential", row.id, digest_of(first.encode()).hex()) in (await accounts.changes())[-MOST_FORMER - 2 :]


async def test_two_rotations_at_once_leave_one_living_secret(accounts: Accounts, user: User) -> None:
    row, _ = await make(accounts)

    async def rotate() -> str:
        async with accounts.begin(MASTER) as work:
            return (await CredentialService(work).rotate(row.id))[1]

    secrets = await asyncio.gather(*(rotate() for _ in range(5)))
    async with accounts.read(MASTER) as work:
        rows = [await repo.by_digest(work.session, digest_of(secret.encode())) for secret in secrets]
        assert [found.id for found in rows if found is not None and found.replaced_by is None] == [row.id]
        for found in rows:
            assert found is None or found.replaced_by is None or found.grace_until == accounts.clock.now


async def test_a_revoked_key_stays_revoked(accounts: Accounts, user: User) -> None:
    row, secret = await make(accounts)
    async with accounts.begin(MASTER) as work:
        await CredentialService(work).rotate(row.id, grace_seconds=600)
    before = await accounts.last_seq()
    async with accounts.begin(MASTER) as work:
        revoked = await CredentialService(work).revoke(row.id)
    assert (revoked.status, revoked.revoked_at, revoked.is_active) == ("revoked", accounts.clock.now, False)
    told = await accounts.changes(before)
    assert ("credential", row.id, digest_of(secret.encode()).hex()) in told
    assert len(told) == 2
    for asked in (CredentialUpdate(is_active=True), CredentialUpdate(name="x")):
        with pytest.raises(GatewayError) as caught:
            async with accounts.begin(MASTER) as work:
                await CredentialService(work).update(row.id, asked)
        assert (caught.value.kind, caught.value.code) == (Kind.CONFLICT, "credential_revoked")
    with pytest.raises(GatewayError) as caught:
        async with accounts.begin(MASTER) as work:
            await CredentialService(work).rotate(row.id)
    assert caught.value.code == "credential_revoked"


async def test_scope_permissions_come_to_what_the_maker_holds(accounts: Accounts, user: User) -> None:
    asked = {"read": ["*"], "write": ["*"]}
    mine, _ = await make(accounts, signed_in(user), scope_permissions=asked)
    assert mine.scopes == ["api:read", "api:write"]
    assert mine.scope_permissions == asked
    masters, _ = await make(accounts, scope_permissions={"read": ["*"], "write": ["usage"]})
    assert {"audit:read", "costs:read", "usage:write"} <= set(masters.scopes)
    assert "keys:write" not in masters.scopes


NOT_HELD: list[tuple[dict[str, Any], str]] = [
    ({"scopes": ["keys:write"]}, "scopes"),
    ({"scopes": ["admin:*"]}, "scopes"),
    ({"scopes": ["*"]}, "scopes"),
    ({"scopes": ["*:read"]}, "scopes"),
    ({"scopes": ["api:*"]}, "scopes"),
    ({"scope_permissions": {"write": ["keys"]}}, "scope_permissions.write"),
]


async def test_nobody_gives_what_they_do_not_hold(accounts: Accounts, user: User) -> None:
    for asked, field in NOT_HELD:
        expected = (Kind.FORBIDDEN, "insufficient_permissions", field)
        assert await refused(accounts, signed_in(user), **asked) == expected, asked


async def test_scopes_that_a_key_has_may_stay_when_others_change(accounts: Accounts, user: User) -> None:
    row, _ = await make(accounts, user=user.id, scopes=["usage:write", "api:read"])
    async with accounts.begin(signed_in(user)) as work:
        service = CredentialService(work)
        changed = await service.update(row.id, CredentialUpdate(scopes=["usage:write", "api:write"]))
        assert changed.scopes == ["api:write", "usage:write"]
        with pytest.raises(GatewayError) as caught:
            await service.update(row.id, CredentialUpdate(scopes=["usage:write", "costs:read"]))
    assert caught.value.code == "insufficient_permissions"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"name": "  "}, "name"),
    ({"name": "x" * 201}, "name"),
    ({"name": "a\x00b"}, "name"),
    ({"environment": "production"}, "environment"),
    ({"scopes": ["flying:write"]}, "scopes"),
    ({"scopes": ["flying:*"]}, "scopes"),
    ({"scope_permissions": {"delete": ["*"]}}, "scope_permissions.delete"),
    ({"scope_permissions": {"read": "*"}}, "scope_permissions.read"),
    ({"scope_permissions": {"read": [1]}}, "scope_permissions.read"),
    ({"cidrs": ["10.0.0.0/33"]}, "cidrs[0]"),
    ({"cidrs": ["10.0.0.0/8", "localhost"]}, "cidrs[1]"),
    ({"cidrs": ["fe80::1%eth0"]}, "cidrs[0]"),
    ({"cidrs": ["10.0.0.1"] * 101}, "cidrs"),
    ({"models": [""]}, "models[0]"),
    ({"expires_at": datetime(2030, 1, 1)}, "expires_at"),
    ({"user": "user_nobody"}, "user_id"),
]


async def test_bad_input_names_its_field(accounts: Accounts, user: User) -> None:
    for asked, field in BAD:
        kind, _, named = await refused(accounts, MASTER, **asked)
        assert (kind, named) == (Kind.INVALID, field), asked


async def test_a_key_that_would_be_born_expired_is_refused(accounts: Accounts, user: User) -> None:
    assert await refused(accounts, MASTER, expires_at=accounts.clock.now) == (
        Kind.INVALID,
        "invalid_value",
        "expires_at",
    )


async def test_an_unknown_organization_is_named(accounts: Accounts, user: User) -> None:
    kind, code, field = await refused(accounts, MASTER, organization="nowhere")
    assert (kind, code, field) == (Kind.NOT_FOUND, "organization_not_found", "organization_id")


async def test_others_organizations_are_out_of_reach(accounts: Accounts, user: User) -> None:
    await accounts.organization("rivals")
    theirs, _ = await make(accounts, organization="rivals")
    admin = signed_in(user, "owner")
    assert (await refused(accounts, admin, organization="rivals"))[1] == "organization_not_found"
    async with accounts.begin(admin) as work:
        service = CredentialService(work)
        for call in (service.get, service.revoke, service.rotate):
            with pytest.raises(GatewayError) as caught:
                await call(theirs.id)
            assert caught.value.kind is Kind.NOT_FOUND
        with pytest.raises(GatewayError) as caught:
            await service.list(CredentialFilter(organization="rivals"))
        assert caught.value.kind is Kind.FORBIDDEN
        assert (await service.list()).total == 0


async def test_a_user_manages_their_own_keys_alone(accounts: Accounts, user: User) -> None:
    other = await accounts.user("bob@example.com", "acme")
    mine, _ = await make(accounts, signed_in(user))
    his, _ = await make(accounts, signed_in(other))
    async with accounts.begin(signed_in(user)) as work:
        service = CredentialService(work)
        assert [row.id for row in (await service.list()).items] == [mine.id]
        with pytest.raises(GatewayError) as caught:
            await service.get(his.id)
        assert caught.value.kind is Kind.NOT_FOUND
        with pytest.raises(GatewayError) as caught:
            await service.list(CredentialFilter(user=other.id))
        assert caught.value.kind is Kind.FORBIDDEN
    assert (await refused(accounts, signed_in(user), user=other.id))[0] is Kind.FORBIDDEN
    assert (await refused(accounts, signed_in(user), user=None))[0] is Kind.FORBIDDEN
    async with accounts.begin(signed_in(user, "developer")) as work:
        service = CredentialService(work)
        assert (await service.list()).total == 2
        assert (await service.revoke(his.id)).status == "revoked"


async def test_a_narrow_key_makes_no_keys(accounts: Accounts, user: User) -> None:
    narrow = with_key("key_x", "acme", ("usage:write",), user.id)
    assert (await refused(accounts, narrow))[0] is Kind.FORBIDDEN
    made, _ = await make(accounts, with_key("key_x", "acme", ("api:write",), user.id))
    assert made.user_id == user.id


async def test_a_key_may_rotate_and_revoke_but_not_free_itself(accounts: Accounts, user: User) -> None:
    row, _ = await make(accounts, user=None, scopes=["usage:write"], cidrs=["10.0.0.1"])
    itself = with_key(row.id, "acme", ("usage:write",))
    async with accounts.begin(itself) as work:
        service = CredentialService(work)
        assert (await service.get(row.id)).id == row.id
        await service.rotate(row.id)
        with pytest.raises(GatewayError) as caught:
            await service.update(row.id, CredentialUpdate(cidrs=[]))
        assert caught.value.kind is Kind.FORBIDDEN
        assert (await service.revoke(row.id)).status == "revoked"


async def test_a_reference_to_nothing_finds_nothing(accounts: Accounts, user: User) -> None:
    await make(accounts)
    references: tuple[str | int, ...] = ("key_nothing", "0", 99, "9" * 40, "", "٣", -1)
    async with accounts.read(MASTER) as work:
        for reference in references:
            with pytest.raises(GatewayError) as caught:
                await CredentialService(work).get(reference)
            assert caught.value.code == "credential_not_found", reference


async def test_a_grace_has_bounds(accounts: Accounts, user: User) -> None:
    row, _ = await make(accounts)
    for grace in (-1, LONGEST_GRACE + 1):
        with pytest.raises(GatewayError) as caught:
            async with accounts.begin(MASTER) as work:
                await CredentialService(work).rotate(row.id, grace_seconds=grace)
        assert caught.value.field == "grace_seconds"
