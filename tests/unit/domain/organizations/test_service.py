"""Organisations: made, changed, suspended, put on plans; and who may."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from gateway.domain.actor import SYSTEM, Actor
from gateway.domain.organizations.requests import NewOrganization, OrganizationFilter, OrganizationUpdate
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.plans.service import PlanService
from gateway.kernel.errors import GatewayError, Kind
from gateway.settings.model import Plan
from tests.support.accounts import MASTER, Accounts

OWNER = Actor(kind="user", id="user_1", user="user_1", organization="acme", permissions=frozenset({"admin:*"}))
MEMBER = Actor(kind="user", id="user_2", user="user_2", organization="acme", permissions=frozenset({"api:read"}))


async def failure(accounts: Accounts, actor: Actor, method: str, *arguments: object) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        async with accounts.begin(actor) as work:
            await getattr(OrganizationService(work), method)(*arguments)
    return caught.value


async def test_one_is_found_by_id_slug_and_number(accounts: Accounts) -> None:
    async with accounts.begin(MASTER) as work:
        made = await OrganizationService(work).create(
            NewOrganization(name="  Größe & Söhne GmbH ", data_residency="eu")
        )
    assert (made.slug, made.name, made.status) == ("groe-sohne-gmbh", "Größe & Söhne GmbH", "active")
    assert made.id.startswith("org_")
    async with accounts.read(MASTER) as work:
        for reference in (made.id, made.slug, made.number, str(made.number)):
            assert (await OrganizationService(work).get(reference)).id == made.id
    assert await accounts.changes() == [("organization", made.id, None)]
    (record,) = await accounts.records("organization.created")
    assert (record.organization, record.resource_id) == (made.id, made.id)


async def test_one_name_at_once_gives_as_many_slugs(accounts: Accounts) -> None:
    async def make() -> str:
        async with accounts.begin(MASTER) as work:
            return (await OrganizationService(work).create(NewOrganization(name="Corp"))).slug

    slugs = await asyncio.gather(*(make() for _ in range(5)))
    assert len(set(slugs)) == 5
    assert "corp" in slugs


async def test_a_name_twice_gives_two_slugs_and_a_slug_twice_a_conflict(accounts: Accounts) -> None:
    async with accounts.begin(MASTER) as work:
        service = OrganizationService(work)
        first = await service.create(NewOrganization(name="Corp"))
        second = await service.create(NewOrganization(name="Corp"))
    assert first.slug == "corp"
    assert second.slug.startswith("corp-")
    error = await failure(accounts, MASTER, "create", NewOrganization(name="Another", slug="corp"))
    assert (error.kind, error.code, error.field) == (Kind.CONFLICT, "slug_taken", "slug")


@pytest.mark.parametrize(
    ("new", "field"),
    [
        (NewOrganization(name=" "), "name"),
        (NewOrganization(name="a\0b"), "name"),
        (NewOrganization(name="x" * 201), "name"),
        (NewOrganization(name="a", slug="Not A Slug"), "slug"),
        (NewOrganization(name="a", slug="x" * 64), "slug"),
        (NewOrganization(name="a", data_residency=""), "data_residency"),
        (NewOrganization(name="a", configuration={"a": float("inf")}), "configuration"),
        (NewOrganization(name="a", configuration={"a": "x" * 70_000}), "configuration"),
        (NewOrganization(name="a", plan="none"), "plan"),
    ],
)
async def test_bad_input_names_the_field(accounts: Accounts, new: NewOrganization, field: str) -> None:
    error = await failure(accounts, MASTER, "create", new)
    assert error.kind in (Kind.INVALID, Kind.NOT_FOUND)
    assert error.field == field


async def test_those_of_the_configuration_are_named_by_their_ids(accounts: Accounts) -> None:
    for _ in range(2):
        async with accounts.begin(SYSTEM) as work:
            row = await OrganizationService(work).ensure("Acme/East")
            assert (row.id, row.slug, row.name) == ("Acme/East", "Acme/East", "Acme/East")
    assert await accounts.actions() == ["organization.created"]


async def test_suspended_and_back(accounts: Accounts) -> None:
    await accounts.organization("acme")
    before = await accounts.last_seq()
    async with accounts.begin(MASTER) as work:
        row = await OrganizationService(work).suspend("acme", "Payment overdue")
        assert (row.status, row.status_reason) == ("suspended", "Payment overdue")
    async with accounts.begin(MASTER) as work:
        row = await OrganizationService(work).reactivate("acme")
        assert (row.status, row.status_reason) == ("active", None)
    assert await accounts.changes(before) == [("organization", "acme", None)] * 2
    (record,) = await accounts.records("organization.suspended")
    assert (record.before, record.severity) == ({"status": "active", "status_reason": None}, "warning")
    assert record.after == {"status": "suspended", "status_reason": "Payment overdue"}


async def test_a_deleted_one_is_found_no_more(accounts: Accounts) -> None:
    await accounts.organization("acme")
    async with accounts.begin(MASTER) as work:
        await OrganizationService(work).delete("acme")
    error = await failure(accounts, MASTER, "get", "acme")
    assert (error.kind, error.code) == (Kind.NOT_FOUND, "organization_not_found")
    async with accounts.read(MASTER) as work:
        assert (await OrganizationService(work).list()).total == 0
        assert (await OrganizationService(work).list(OrganizationFilter(status="deleted"))).total == 1


async def test_a_plan_is_set_with_its_time(accounts: Accounts) -> None:
    async with accounts.begin(SYSTEM) as work:
        await PlanService(work).synchronise([Plan(name="pro")])
    await accounts.organization("acme")
    until = accounts.clock.now + timedelta(days=30)
    async with accounts.begin(MASTER) as work:
        row = await OrganizationService(work).set_plan("acme", "pro", until)
    assert (row.plan, row.plan_since, row.plan_until) == ("pro", accounts.clock.now, until)
    accounts.clock.advance(60)
    async with accounts.begin(MASTER) as work:
        row = await OrganizationService(work).set_plan("acme", "pro")
    assert (row.plan_since, row.plan_until) == (accounts.clock.now - timedelta(seconds=60), None)
    assert (await failure(accounts, MASTER, "set_plan", "acme", "none")).code == "plan_not_found"
    assert (await failure(accounts, MASTER, "set_plan", "acme", "pro", accounts.clock.now)).field == "until"


async def test_its_administrators_change_what_is_theirs(accounts: Accounts) -> None:
    await accounts.organization("acme")
    async with accounts.begin(OWNER) as work:
        row = await OrganizationService(work).update(
            "acme", OrganizationUpdate(name="Acme Corp", configuration={"branding": {"color": "#fff"}})
        )
    assert (row.name, row.configuration) == ("Acme Corp", {"branding": {"color": "#fff"}})
    commits = accounts.commits
    async with accounts.begin(OWNER) as work:
        await OrganizationService(work).update("acme", OrganizationUpdate(name="Acme Corp"))
    assert (accounts.commits, await accounts.actions()) == (
        commits,
        ["organization.created", "organization.updated"],
    )


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("create", (NewOrganization(name="mine"),)),
        ("ensure", ("mine",)),
        ("suspend", ("acme", "why not")),
        ("reactivate", ("acme",)),
        ("delete", ("acme",)),
        ("set_plan", ("acme", None)),
        ("update", ("acme", OrganizationUpdate(trial_ends_at=None))),
    ],
)
async def test_no_owner_does_what_is_the_platforms(
    accounts: Accounts, method: str, arguments: tuple[object, ...]
) -> None:
    await accounts.organization("acme")
    error = await failure(accounts, OWNER, method, *arguments)
    assert (error.kind, error.code) == (Kind.FORBIDDEN, "insufficient_permissions")


async def test_nobody_sees_or_changes_another_organization(accounts: Accounts) -> None:
    await accounts.organization("acme")
    await accounts.organization("other")
    for actor in (OWNER, MEMBER):
        assert (await failure(accounts, actor, "get", "other")).kind is Kind.NOT_FOUND
        error = await failure(accounts, actor, "update", "other", OrganizationUpdate(name="x"))
        assert error.kind is Kind.NOT_FOUND
        async with accounts.read(actor) as work:
            assert [row.id for row in (await OrganizationService(work).list()).items] == ["acme"]
            assert (await OrganizationService(work).own()).id == "acme"
    assert (await failure(accounts, MEMBER, "update", "acme", OrganizationUpdate(name="x"))).kind is Kind.FORBIDDEN


async def test_lists_are_filtered_and_paged(accounts: Accounts) -> None:
    for name in ("alpha", "beta", "alphabet"):
        await accounts.organization(name)
    async with accounts.begin(MASTER) as work:
        await OrganizationService(work).suspend("beta", "x")
    async with accounts.read(MASTER) as work:
        service = OrganizationService(work)
        found = await service.list(OrganizationFilter(search="ALPHA"), limit=1, offset=1)
        assert ([row.id for row in found.items], found.total) == (["alphabet"], 2)
        assert [row.id for row in (await service.list(OrganizationFilter(status="suspended"))).items] == ["beta"]
        assert (await service.list(OrganizationFilter(search="%"))).total == 0
    assert (await failure(accounts, MASTER, "list", OrganizationFilter(status="odd"))).field == "status"


async def test_the_configuration_may_name_what_is_a_tenants_slug_already(accounts: Accounts) -> None:
    async with accounts.begin(SYSTEM) as work:
        tenant = await OrganizationService(work).make(NewOrganization(name="Acme", slug="acme"))
    async with accounts.begin(SYSTEM) as work:
        named = await OrganizationService(work).ensure("acme")
    assert (named.id, named.id == tenant.id) == ("acme", False)
    assert named.slug.startswith("acme-")
