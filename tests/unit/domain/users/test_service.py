"""Users: made, found, changed, given roles; and who may."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.actor import Actor
from gateway.domain.users import passwords
from gateway.domain.users.requests import NewUser, UserFilter, UserUpdate
from gateway.domain.users.service import UserService
from gateway.kernel.errors import GatewayError, Kind
from tests.support.accounts import MASTER, Accounts, signed_in


async def call(accounts: Accounts, actor: Actor, method: str, *arguments: Any, **named: Any) -> Any:
    async with accounts.begin(actor) as work:
        return await getattr(UserService(work), method)(*arguments, **named)


async def failure(accounts: Accounts, actor: Actor, method: str, *arguments: Any, **named: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await call(accounts, actor, method, *arguments, **named)
    return caught.value


async def test_one_without_an_organization_gets_one_of_their_own(accounts: Accounts) -> None:
    user = await call(accounts, MASTER, "create", NewUser(email=" New.User@Example.COM ", password="correct horse"))
    assert (user.email, user.username, user.status) == ("new.user@example.com", "new.user@example.com", "active")
    assert user.password_hash.startswith("$argon2id$")
    assert (await call(accounts, MASTER, "role_of", user.id)).role == "owner"
    assert await accounts.actions() == ["organization.created", "user.created"]
    (record,) = await accounts.records("user.created")
    assert "correct horse" not in str(record.after)
    assert record.organization == user.organization_id
    assert ("user", user.id, None) in await accounts.changes()


async def test_one_is_found_in_every_spelling(accounts: Accounts) -> None:
    await accounts.organization("acme")
    user = await accounts.user("a@example.com", "acme")
    for reference in (user.id, user.number, str(user.number), f"user_{user.number}", "A@example.com"):
        assert (await call(accounts, MASTER, "get", reference)).id == user.id
    for reference in ("user_0", "nobody@example.com", "user_01", "9" * 30, ""):
        assert (await failure(accounts, MASTER, "get", f"x{reference}")).code == "user_not_found"


async def test_an_email_is_one_persons(accounts: Accounts) -> None:
    await accounts.organization("acme")
    await accounts.user("a@example.com", "acme")
    error = await failure(accounts, MASTER, "create", NewUser(email="A@EXAMPLE.com", organization="acme"))
    assert (error.kind, error.code, error.field) == (Kind.CONFLICT, "email_taken", "email")


@pytest.mark.parametrize(
    ("new", "field"),
    [
        (NewUser(email="nobody"), "email"),
        (NewUser(email="a b@example.com"), "email"),
        (NewUser(email="a@" + "b" * 260), "email"),
        (NewUser(email="a@example.com", password="short"), "password"),
        (NewUser(email="a@example.com", password="x" * 1025), "password"),
        (NewUser(email="a@example.com", password="\ud800" * 9), "password"),
        (NewUser(email="a@example.com", username="a\nb\x1b"), "username"),
        (NewUser(email="a@example.com", role="king"), "role"),
    ],
)
async def test_bad_input_names_the_field(accounts: Accounts, new: NewUser, field: str) -> None:
    error = await failure(accounts, MASTER, "create", new)
    assert (error.kind, error.field) == (Kind.INVALID, field)


async def test_an_administrator_makes_users_of_their_own_organization(accounts: Accounts) -> None:
    await accounts.organization("acme")
    await accounts.organization("other")
    owner = signed_in(await accounts.user("owner@example.com", "acme", "owner"), "owner")
    made = await call(accounts, owner, "create", NewUser(email="b@example.com", organization="acme", role="developer"))
    assert made.organization_id == "acme"
    error = await failure(accounts, owner, "create", NewUser(email="c@example.com", organization="other"))
    assert error.kind is Kind.NOT_FOUND
    for new in (
        NewUser(email="d@example.com"),
        NewUser(email="d@example.com", organization="acme", role="platform_admin"),
    ):
        assert (await failure(accounts, owner, "create", new)).kind is Kind.FORBIDDEN


async def test_roles_are_given_and_told(accounts: Accounts) -> None:
    await accounts.organization("acme")
    user = await accounts.user("a@example.com", "acme")
    before = await accounts.last_seq()
    accounts.clock.advance(60)
    change = await call(accounts, MASTER, "set_role", f"user_{user.number}", "admin", reason="Promoted to admin")
    assert (change.old, change.new, change.at) == ("user", "admin", accounts.clock.now)
    assert (await call(accounts, MASTER, "role_of", user.id)).role == "admin"
    assert await accounts.changes(before) == [("user", user.id, None)]
    (record,) = await accounts.records("user.role_changed")
    assert (record.before, record.after, record.details) == (
        {"role": "user"},
        {"role": "admin"},
        {"reason": "Promoted to admin"},
    )


async def test_platform_administrators_are_made_and_unmade_by_the_platform_alone(accounts: Accounts) -> None:
    await accounts.organization("acme")
    owner = signed_in(await accounts.user("owner@example.com", "acme", "owner"), "owner")
    user = await accounts.user("a@example.com", "acme")
    assert (await failure(accounts, owner, "set_role", user.id, "platform_admin")).kind is Kind.FORBIDDEN
    change = await call(accounts, MASTER, "set_role", user.id, "platform_admin")
    assert (change.new, change.user.is_platform_admin) == ("platform_admin", True)
    assert (await failure(accounts, owner, "set_role", user.id, "viewer")).kind is Kind.FORBIDDEN
    assert (await failure(accounts, owner, "update", user.id, UserUpdate(status="disabled"))).kind is Kind.FORBIDDEN
    change = await call(accounts, MASTER, "set_role", user.id, "viewer")
    assert (change.old, change.user.is_platform_admin) == ("platform_admin", False)


async def test_nobody_gives_more_than_they_hold_nor_takes_from_who_holds_more(accounts: Accounts) -> None:
    await accounts.organization("acme")
    owner = await accounts.user("owner@example.com", "acme", "owner")
    user = await accounts.user("a@example.com", "acme")
    some = frozenset({"users:write", "users:read", "api:read", "api:write", "inference", "organizations:read"})
    deputy = Actor(kind="credential", id="key_1", organization="acme", permissions=some)
    assert (await failure(accounts, deputy, "set_role", user.id, "admin")).kind is Kind.FORBIDDEN
    assert (await failure(accounts, deputy, "set_role", owner.id, "user")).kind is Kind.FORBIDDEN
    assert (await call(accounts, deputy, "set_role", user.id, "guest")).new == "guest"


async def test_others_users_are_not_there(accounts: Accounts) -> None:
    await accounts.organization("acme")
    await accounts.organization("other")
    owner = signed_in(await accounts.user("owner@example.com", "acme", "owner"), "owner")
    stranger = await accounts.user("s@example.com", "other")
    for method, arguments in (("get", ()), ("set_role", ("user",)), ("update", (UserUpdate(username="x"),))):
        assert (await failure(accounts, owner, method, stranger.id, *arguments)).code == "user_not_found"
    assert (await failure(accounts, owner, "list", UserFilter(organization="other"))).kind is Kind.NOT_FOUND


async def test_lists_are_filtered_and_paged(accounts: Accounts) -> None:
    await accounts.organization("acme")
    await accounts.organization("other")
    owner = await accounts.user("owner@example.com", "acme", "owner")
    await accounts.user("dev@example.com", "acme", "developer")
    await accounts.user("else@example.com", "other", "developer")
    await call(accounts, MASTER, "set_role", "owner@example.com", "developer", organization="other")

    async def emails(actor: Actor = MASTER, **chosen: Any) -> list[str]:
        page = await call(accounts, actor, "list", UserFilter(**chosen))
        assert page.total == len(page.items)
        return [item.user.email.partition("@")[0] for item in page.items]

    assert await emails() == ["owner", "dev", "else"]
    assert await emails(role="developer") == ["dev", "else"]
    assert await emails(organization="other") == ["owner", "else"]
    assert await emails(organization="other", role="owner") == []
    assert await emails(search="DEV@") == ["dev"]
    assert await emails(status="disabled") == []
    assert await emails(signed_in(owner, "owner")) == ["owner", "dev"]
    page = await call(accounts, MASTER, "list", limit=1, offset=1)
    assert ([item.user.email for item in page.items], page.total) == (["dev@example.com"], 3)
    assert (await failure(accounts, signed_in(owner, "user"), "list")).kind is Kind.FORBIDDEN
    assert (await failure(accounts, MASTER, "list", UserFilter(role="king"))).code == "unknown_role"


async def test_one_changes_oneself_but_not_ones_own_status(accounts: Accounts) -> None:
    await accounts.organization("acme")
    user = await accounts.user("a@example.com", "acme")
    me = signed_in(user)
    changed = await call(accounts, me, "update", user.id, UserUpdate(username="Ann", password="a new password"))
    assert changed.username == "Ann"
    assert await passwords.matches(changed.password_hash, "a new password")
    assert "a new password" not in str([row.after for row in await accounts.records("user.updated")])
    assert (await failure(accounts, me, "update", user.id, UserUpdate(status="disabled"))).kind is Kind.FORBIDDEN
    disabled = await call(accounts, MASTER, "update", user.id, UserUpdate(status="disabled"))
    assert disabled.status == "disabled"
    assert (await failure(accounts, MASTER, "update", user.id, UserUpdate(status="gone"))).field == "status"
