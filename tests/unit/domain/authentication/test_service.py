"""Whose a credential is, for every kind of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import UNSET, structs

from gateway.domain.authentication.identities import settle
from gateway.domain.authentication.principal import Origin, Principal
from gateway.domain.credentials.requests import CredentialUpdate, NewCredential
from gateway.domain.credentials.service import CredentialService
from gateway.domain.oidc.service import Identity
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.users.requests import UserUpdate
from gateway.domain.users.service import UserService
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.secrets import digest_of
from gateway.settings.model import Server
from tests.support.accounts import MASTER
from tests.unit.domain.authentication.conftest import MASTER_KEY, Gateway


async def key(gateway: Gateway, **asked: Any) -> tuple[str, str]:
    """A new key's id and secret, of the organisation ``acme``."""
    values: dict[str, Any] = {"name": "k", "organization": "acme", "user": None} | asked
    async with gateway.accounts.begin(MASTER) as work:
        row, secret = await CredentialService(work).create(NewCredential(**values))
        return row.id, secret


async def change(gateway: Gateway, service: type[Any], method: str, *arguments: Any, **named: Any) -> Any:
    async with gateway.accounts.begin(MASTER) as work:
        return await getattr(service(work), method)(*arguments, **named)


async def refusal(gateway: Gateway, secret: str | None, origin: Origin | None = None) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await gateway.authenticator.resolve(secret, origin or Origin())
    return caught.value


async def resolved(gateway: Gateway, secret: str, origin: Origin | None = None) -> Principal:
    return await gateway.authenticator.resolve(secret, origin or Origin())


async def test_the_master_key_is_the_platform(gateway: Gateway) -> None:
    found = await resolved(gateway, MASTER_KEY, Origin("192.0.2.1", "agent", "req_1"))
    assert (found.actor.kind, found.actor.organization, found.actor.is_platform_admin) == ("master", "default", True)
    assert (found.actor.address, found.actor.user_agent, found.actor.request_id) == ("192.0.2.1", "agent", "req_1")
    assert found.policy.limits == ()


async def test_a_static_key_uses_models_and_administers_nothing(gateway: Gateway) -> None:
    found = await resolved(gateway, "gw_live_static_1")
    assert (found.actor.kind, found.actor.id, found.actor.organization) == ("static", "demo", "acme")
    assert found.policy.models == ("small",)
    assert found.actor.may("inference")
    assert not found.actor.may("keys:write")


async def test_a_key_is_its_organizations_with_its_scopes(gateway: Gateway) -> None:
    id, secret = await key(gateway, scopes=["keys:read"], models=["small"])
    found = await resolved(gateway, secret)
    assert (found.actor.kind, found.actor.id, found.actor.organization) == ("credential", id, "acme")
    assert found.actor.may("keys:read", "acme")
    assert not found.actor.may("keys:write", "acme")
    assert not found.actor.may("keys:read", "default")
    assert (found.policy.id, found.policy.models, found.policy.inference) == (id, ("small",), False)


async def test_a_key_does_no_more_than_its_user_may_now(gateway: Gateway) -> None:
    user = await gateway.accounts.user("a@example.com", "acme", "admin")
    _, secret = await key(gateway, user=user.id, scopes=["admin:*"])
    before = await resolved(gateway, secret)
    assert before.actor.may("keys:write", "acme")
    assert (before.actor.email, before.actor.user, before.actor.is_platform_admin) == ("a@example.com", user.id, False)
    await change(gateway, UserService, "set_role", user.id, "viewer")
    after = await resolved(gateway, secret)
    assert not after.actor.may("keys:write", "acme")
    assert after.actor.may("costs:read", "acme")
    assert after.policy.inference is False
    await change(gateway, UserService, "update", user.id, UserUpdate(status="disabled"))
    assert (await refusal(gateway, secret)).code == "disabled_api_key"


async def test_only_a_key_for_everything_speaks_for_the_platform(gateway: Gateway) -> None:
    admin = await change(gateway, UserService, "get", "admin@example.com")
    _, mighty = await key(gateway, organization="default", user=admin.id, scopes=["admin:*"])
    _, small = await key(gateway, organization="default", user=admin.id, scopes=["keys:read"])
    _, nobodys = await key(gateway, organization="default", scopes=["admin:*"])
    assert (await resolved(gateway, mighty)).actor.is_platform_admin
    assert not (await resolved(gateway, small)).actor.is_platform_admin
    assert not (await resolved(gateway, nobodys)).actor.may("credits:write", "default")


@pytest.mark.parametrize(
    ("secret", "code"),
    [
        (None, "missing_api_key"),
        ("", "missing_api_key"),
        ("gw_live_nobody", "invalid_api_key"),
        ("\ud800", "invalid_api_key"),
        ("a.b.c", "invalid_api_key"),
        ("app_0:sk_0", "app_not_found"),
    ],
)
async def test_unknown_secrets(gateway: Gateway, secret: str | None, code: str) -> None:
    error = await refusal(gateway, secret)
    assert (error.kind, error.code) == (Kind.UNAUTHENTICATED, code)


async def test_dead_keys_say_why(gateway: Gateway) -> None:
    id, secret = await key(gateway, scopes=["inference"])
    await change(gateway, CredentialService, "update", id, CredentialUpdate(is_active=False))
    assert (await refusal(gateway, secret)).code == "disabled_api_key"
    await change(gateway, CredentialService, "revoke", id)
    assert (await refusal(gateway, secret)).code == "revoked_api_key"
    _, other = await key(gateway, expires_at=gateway.accounts.clock.now.replace(year=2100))
    await resolved(gateway, other)
    gateway.accounts.clock.now = gateway.accounts.clock.now.replace(year=2101)
    assert (await refusal(gateway, other)).code == "expired_api_key"


async def test_a_rotated_secret_does_what_its_key_may_now_until_its_grace_ends(gateway: Gateway) -> None:
    id, old = await key(gateway, scopes=["keys:read", "inference"])
    _, new = await change(gateway, CredentialService, "rotate", id, grace_seconds=60)
    await change(gateway, CredentialService, "update", id, CredentialUpdate(scopes=["inference"], name=UNSET))
    for secret in (old, new):
        found = await resolved(gateway, secret)
        assert (found.actor.id, found.policy.id) == (id, id)
        assert not found.actor.may("keys:read")
    gateway.accounts.clock.advance(61)
    assert (await refusal(gateway, old)).kind is Kind.UNAUTHENTICATED
    await resolved(gateway, new)


async def test_a_suspended_organization_is_told_apart(gateway: Gateway) -> None:
    _, secret = await key(gateway, scopes=["inference"])
    await change(gateway, OrganizationService, "suspend", "acme", "Payment overdue.")
    error = await refusal(gateway, secret)
    assert (error.kind, error.code) == (Kind.SUSPENDED, "tenant_suspended")
    assert "Payment overdue." in error.message


async def test_addresses_and_environments_hold(gateway: Gateway) -> None:
    _, secret = await key(gateway, cidrs=["192.0.2.0/24", "2001:db8::/32"], environment="test")
    for address in ("192.0.2.9", "::ffff:192.0.2.9", "2001:db8::1"):
        await resolved(gateway, secret, Origin(address))
    for other in (None, "198.51.100.1", "2001:db9::1", "nonsense"):
        error = await refusal(gateway, secret, Origin(other))
        assert (error.kind, error.code) == (Kind.FORBIDDEN, "address_not_allowed")
    settings = structs.replace(gateway.settings, server=Server(environment="live"))
    with pytest.raises(GatewayError) as caught:
        await gateway.authenticator_of(settings).resolve(secret, Origin("192.0.2.9"))
    assert caught.value.code == "wrong_environment"


async def test_answers_carry_the_change_they_have_seen(gateway: Gateway) -> None:
    id, secret = await key(gateway, scopes=["inference"])
    first = await gateway.authenticator.by_digest(digest_of(secret.encode()))
    await change(gateway, CredentialService, "revoke", id)
    second = await gateway.authenticator.by_digest(digest_of(secret.encode()))
    assert first.principal is not None
    assert second.principal is not None
    assert (first.principal.policy.status, second.principal.policy.status) == ("active", "revoked")
    assert second.seq > first.seq
    assert (await gateway.authenticator.by_digest(b"\0" * 32)).principal is None


async def test_many_are_told_what_each_is_told_alone(gateway: Gateway) -> None:
    id, old = await key(gateway, scopes=["inference"])
    _, new = await change(gateway, CredentialService, "rotate", id, grace_seconds=60)
    _, other = await key(gateway, scopes=["keys:read"], environment="test")
    digests = [digest_of(secret.encode()) for secret in (old, new, other)]
    for seconds in (0, 61):
        gateway.accounts.clock.advance(seconds)
        seq, found = await gateway.authenticator.policies([*digests, b"\0" * 32])
        assert set(found) == set(digests)
        for digest in digests:
            alone = await gateway.authenticator.by_digest(digest)
            assert alone.principal is not None
            assert (seq, found[digest]) == (alone.seq, alone.principal.policy)
    # These are known to each data plane by its own configuration.
    configured = [digest_of(secret.encode()) for secret in (MASTER_KEY, "gw_live_static_1")]
    assert await gateway.authenticator.policies(configured) == (seq, {})


async def test_our_tokens_are_their_users(gateway: Gateway) -> None:
    session = await gateway.sessions.sign_in("admin@example.com", "the first password")
    found = await resolved(gateway, session.tokens.access_token)
    assert (found.actor.kind, found.actor.user, found.actor.is_platform_admin) == ("user", session.user.id, True)
    assert (found.policy.kind, found.policy.user, found.policy.inference) == ("jwt", session.user.id, True)
    assert found.policy.expires_at == int(gateway.accounts.clock.now.timestamp()) + 3600
    assert (await refusal(gateway, session.tokens.refresh_token)).code == "invalid_token"
    await gateway.sessions.sign_out(session.tokens.access_token)
    assert (await refusal(gateway, session.tokens.access_token)).code == "invalid_token"


async def test_a_token_of_who_left_the_organization_is_worth_nothing(gateway: Gateway) -> None:
    user = await gateway.accounts.user("a@example.com", "acme")
    async with gateway.accounts.begin(MASTER) as work:
        pair = await gateway.tokens.issue(work, user.id, "default")
    assert (await refusal(gateway, pair.access_token)).code == "invalid_token"


async def test_a_newcomer_of_an_issuer_is_made_once(gateway: Gateway) -> None:
    token = gateway.issuer.token("k1", org="acme", role="developer", sub="u-9", email="new@example.com")
    found = await asyncio.gather(*(resolved(gateway, token) for _ in range(5)))
    assert len({item.actor.user for item in found}) == 1
    actor, policy = found[0].actor, found[0].policy
    assert (actor.organization, actor.role, actor.email) == ("acme", "developer", "new@example.com")
    assert (policy.kind, policy.organization, policy.inference) == ("oidc", "acme", True)
    before = await gateway.accounts.last_seq()
    await resolved(gateway, token)
    assert await gateway.accounts.last_seq() == before


async def test_newcomers_of_a_new_organization_come_at_once(gateway: Gateway) -> None:
    sent = [gateway.issuer.token("k1", org="brand-new", sub=f"u-{n}", email=f"{n}@example.com") for n in range(8)]
    found = await asyncio.gather(*(resolved(gateway, token) for token in sent for _ in range(2)))
    assert len({item.actor.user for item in found}) == 8
    assert {item.actor.organization for item in found} == {"brand-new"}


async def test_no_issuer_makes_or_unmakes_an_administrator_of_the_platform(gateway: Gateway) -> None:
    found = await resolved(gateway, gateway.issuer.token("k1", org="acme", role=["platform_admin", "viewer"]))
    assert (found.actor.role, found.actor.is_platform_admin) == ("viewer", False)
    only = await resolved(gateway, gateway.issuer.token("k1", sub="u-2", email="b@example.com", role="platform_admin"))
    assert (only.actor.role, only.actor.is_platform_admin) == ("user", False)
    assert found.actor.user is not None
    async with gateway.accounts.begin(MASTER) as work:
        await UserService(work).set_role(found.actor.user, "platform_admin")
    for organization in ("acme", "brand-new"):
        again = await resolved(gateway, gateway.issuer.token("k1", org=organization, role="viewer"))
        assert (again.actor.user, again.actor.organization) == (found.actor.user, organization)
        assert again.actor.is_platform_admin


async def test_the_issuer_says_the_role_and_the_organization(gateway: Gateway) -> None:
    first = await resolved(gateway, gateway.issuer.token("k1", org="acme", role=["viewer", "admin"]))
    assert first.actor.role == "admin"
    second = await resolved(gateway, gateway.issuer.token("k1", org="acme", role="viewer"))
    assert (second.actor.user, second.actor.role, second.policy.inference) == (first.actor.user, "viewer", False)
    kept = await resolved(gateway, gateway.issuer.token("k1", org="acme", role="unheard of"))
    assert kept.actor.role == "viewer"
    elsewhere = await resolved(gateway, gateway.issuer.token("k1", org="brand-new"))
    assert (elsewhere.actor.organization, elsewhere.actor.role) == ("brand-new", "user")
    nowhere = await resolved(gateway, gateway.issuer.token("k1"))
    assert nowhere.actor.organization == "default"


async def test_an_organizations_number_is_no_claim(gateway: Gateway) -> None:
    async with gateway.accounts.read(MASTER) as work:
        number = (await OrganizationService(work).get("acme")).number
    found = await resolved(gateway, gateway.issuer.token("k1", org=str(number)))
    assert found.actor.organization == str(number) != "acme"


async def test_an_email_is_taken_over_only_when_verified_and_never_an_administrators(gateway: Gateway) -> None:
    user = await gateway.accounts.user("a@example.com", "acme")
    claims: dict[str, Any] = {"org": "acme", "email": "A@example.com"}
    error = await refusal(gateway, gateway.issuer.token("k1", email_verified=False, **claims))
    assert (error.kind, error.code) == (Kind.FORBIDDEN, "email_not_verified")
    assert (await resolved(gateway, gateway.issuer.token("k1", **claims))).actor.user == user.id
    assert (await refusal(gateway, gateway.issuer.token("k1", sub="u-2", **claims))).code == "email_not_verified"
    admin = gateway.issuer.token("k1", sub="u-3", email="admin@example.com")
    assert (await refusal(gateway, admin)).code == "email_not_verified"
    assert await gateway.accounts.records("user.linked") != []


async def test_an_issuer_of_one_organization_takes_over_nobody_of_another(gateway: Gateway) -> None:
    user = await gateway.accounts.user("a@example.com", "acme")
    told: dict[str, Any] = {
        "subject": "issuer|u-1",
        "email": "a@example.com",
        "is_email_verified": True,
        "username": "a",
        "roles": (),
        "expires_at": datetime(2100, 1, 1, tzinfo=UTC),
        "is_confined": True,
    }
    with pytest.raises(GatewayError) as caught:
        await settle(gateway.accounts.works, Identity(organization="elsewhere", **told))
    assert caught.value.kind is Kind.FORBIDDEN
    await settle(gateway.accounts.works, Identity(organization="acme", **told))
    async with gateway.accounts.read(MASTER) as work:
        assert (await UserService(work).get(user.id)).subject == "issuer|u-1"
