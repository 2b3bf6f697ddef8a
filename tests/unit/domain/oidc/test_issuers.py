"""Tokens of other issuers, against a real one on loopback."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.domain.oidc.kept import FILE, KeptKeys
from gateway.domain.oidc.keys import FRESH, PAUSE, IssuerKeys
from gateway.domain.oidc.service import Identity, Issuers
from gateway.kernel.errors import GatewayError, Kind
from gateway.settings.model import Oidc
from tests.support.oidc_issuer import DISCOVERY, KEYS, OidcIssuer, running_issuer


@pytest.fixture
async def issuer() -> AsyncIterator[OidcIssuer]:
    async with running_issuer(("rsa", "RS256"), ("ec", "ES256"), ("ed", "EdDSA")) as running:
        yield running


@pytest.fixture
async def issuers(issuer: OidcIssuer) -> AsyncIterator[Issuers]:
    made = Issuers((settings(issuer),))
    yield made
    await made.close()


def settings(issuer: OidcIssuer, **more: Any) -> Oidc:
    return Oidc(**({"issuer": issuer.url, "audience": "gateway", "organization_claim": "org"} | more))


def verify(issuers: Issuers, token: str) -> Any:
    return issuers.verify(token, datetime.now(UTC))


async def refusal(issuers: Issuers, token: str) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await verify(issuers, token)
    return caught.value


@pytest.mark.parametrize("kid", ["rsa", "ec", "ed"])
async def test_a_token_tells_who_of_what_and_as_what(issuer: OidcIssuer, issuers: Issuers, kid: str) -> None:
    token = issuer.token(kid, org="acme", realm_access={"roles": ["admin", "offline"]}, exp=9_999_999_999)
    assert issuers.knows(token)
    assert await verify(issuers, token) == Identity(
        subject=f"{issuer.url}|u-1",
        email="ann@example.com",
        is_email_verified=True,
        username="ann",
        organization="acme",
        roles=("admin", "offline"),
        expires_at=datetime.fromtimestamp(9_999_999_999, UTC),
    )


async def test_what_a_token_leaves_out(issuer: OidcIssuer, issuers: Issuers) -> None:
    identity = await verify(issuers, issuer.token("ec", email=None, preferred_username=None, nbf=None))
    assert (identity.email, identity.is_email_verified) == ("u-1@127.0.0.1", False)
    assert (identity.username, identity.organization, identity.roles) == ("u-1", "default", ())


@pytest.mark.parametrize(
    ("claim", "claims", "expected"),
    [
        ("realm_access.roles", {"realm_access": {"roles": ["a", 1, "b", ""]}}, ("a", "b")),
        ("realm_access.roles", {"realm_access": ["a"]}, ()),
        ("https://example.com/role", {"https://example.com/role": "admin"}, ("admin",)),
        ("role", {"role": "admin"}, ("admin",)),
        ("role", {"role": {"x": 1}}, ()),
    ],
)
async def test_roles_are_found_where_the_configuration_says(
    issuer: OidcIssuer, claim: str, claims: dict[str, Any], expected: tuple[str, ...]
) -> None:
    made = Issuers((settings(issuer, role_claim=claim),))
    assert (await verify(made, issuer.token("ec", **claims))).roles == expected
    await made.close()


async def test_tokens_for_others_or_of_other_times_are_refused(issuer: OidcIssuer, issuers: Issuers) -> None:
    now = int(time.time())
    wrong: list[dict[str, Any]] = [
        {"aud": "another"},
        {"aud": None},
        {"sub": None},
        {"sub": ""},
        {"exp": None},
        {"exp": 1e300},
        {"nbf": now + 60},
    ]
    for claims in wrong:
        assert (await refusal(issuers, issuer.token("ec", **claims))).code == "invalid_token", claims
    assert (await refusal(issuers, issuer.token("ec", exp=now - 60))).code == "token_expired"
    await verify(issuers, issuer.token("ec", exp=now - 20))
    await verify(issuers, issuer.token("ec", nbf=now + 20))
    await verify(issuers, issuer.token("ec", aud=["another", "gateway"]))


async def test_forged_tokens_are_refused(issuer: OidcIssuer, issuers: Issuers) -> None:
    token = issuer.token("rsa")
    head, body, signature = token.split(".")
    await verify(issuers, token)
    issuer.add_key("rsa", "RS256")  # the same name, another key: what someone else would sign with
    stolen_name = issuer.token("rsa")
    for other in (
        f"{head}.{body}.",
        f"{encoded({'alg': 'none', 'kid': 'rsa'})}.{body}.",
        f"{encoded({'alg': 'ES256', 'kid': 'rsa'})}.{body}.{signature}",
        f"{encoded({'alg': 'RS256'})}.{body}.{signature}",
        f"{encoded({'alg': 'RS256', 'kid': 7})}.{body}.{signature}",
        stolen_name,
        issuer.token("rsa", iss="http://127.0.0.1:1/another"),
    ):
        assert (await refusal(issuers, other)).code == "invalid_token"


async def test_a_public_key_is_never_taken_for_a_secret(issuer: OidcIssuer, issuers: Issuers) -> None:
    token = issuer.token("rsa")
    key = issuer.signing["rsa"][1]
    assert isinstance(key, rsa.RSAPrivateKey)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    message = f"{encoded({'alg': 'HS256', 'kid': 'rsa'})}.{token.split('.')[1]}"
    signature = base64.urlsafe_b64encode(hmac.digest(public, message.encode(), "sha256")).rstrip(b"=").decode()
    assert (await refusal(issuers, f"{message}.{signature}")).code == "invalid_token"


def encoded(header: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "token", ["", "a", "a.b.c", "..", "e30.e30.", "x" * 20_000, "e30." + "W" * 9_000 + ".", "ü.ü.ü"]
)
async def test_what_is_no_token_is_nobodys(issuers: Issuers, token: str) -> None:
    assert not issuers.knows(token)
    assert (await refusal(issuers, token)).code == "invalid_token"


async def test_an_issuer_that_was_never_reached_is_unavailable(issuer: OidcIssuer, issuers: Issuers) -> None:
    token = issuer.token("ec")
    await issuer.stop()
    error = await refusal(issuers, token)
    assert (error.kind, error.code, error.retry_after) == (Kind.UNAVAILABLE, "issuer_unavailable", 10.0)


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=30) as made:
        yield made


async def test_keys_are_read_once_and_again_when_they_are_old(issuer: OidcIssuer, client: httpx.AsyncClient) -> None:
    clock = Clock()
    keys = IssuerKeys(settings(issuer), client, clock)
    for _ in range(5):
        assert await keys.find("rsa") is not None
    assert issuer.asked == [DISCOVERY, KEYS]
    clock.now += FRESH + 1
    assert await keys.find("rsa") is not None
    assert len(issuer.asked) == 4


async def test_an_unknown_key_is_looked_for_at_most_every_ten_seconds(
    issuer: OidcIssuer, client: httpx.AsyncClient
) -> None:
    clock = Clock()
    keys = IssuerKeys(settings(issuer), client, clock)
    await keys.find("rsa")
    issuer.add_key("new", "ES256")
    for number in range(50):
        assert await keys.find(f"made up {number}") is None
    assert await keys.find("new") is None
    assert len(issuer.asked) == 2
    clock.now += PAUSE
    assert await keys.find("new") is not None
    assert await keys.find("made up") is None
    assert len(issuer.asked) == 4


async def test_old_keys_are_used_while_the_issuer_is_down(issuer: OidcIssuer, client: httpx.AsyncClient) -> None:
    clock = Clock()
    keys = IssuerKeys(settings(issuer), client, clock)
    await keys.find("rsa")
    await issuer.stop()
    clock.now += 10 * FRESH
    assert await keys.find("rsa") is not None
    assert await keys.find("new") is None
    await issuer.start()
    issuer.add_key("new", "ES256")
    assert await keys.find("new") is None
    clock.now += PAUSE
    assert await keys.find("new") is not None


async def test_a_removed_key_is_used_no_longer(issuer: OidcIssuer, client: httpx.AsyncClient) -> None:
    clock = Clock()
    keys = IssuerKeys(settings(issuer), client, clock)
    await keys.find("rsa")
    del issuer.signing["rsa"]
    clock.now += FRESH + 1
    assert await keys.find("rsa") is None


async def test_the_keys_may_be_elsewhere(issuer: OidcIssuer, client: httpx.AsyncClient) -> None:
    keys = IssuerKeys(settings(issuer, jwks_url=f"http://127.0.0.1:{issuer.port}{KEYS}"), client)
    assert await keys.find("rsa") is not None
    assert issuer.asked == [KEYS]


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "http://evil.example"},
        {"jwks_uri": None},
        {"jwks_uri": "ftp://127.0.0.1/keys"},
        {"jwks_uri": "http://["},
        {"padding": "x" * 2_000_000},
    ],
)
async def test_a_discovery_that_is_not_right_gives_no_keys(
    issuer: OidcIssuer, client: httpx.AsyncClient, discovery: dict[str, Any]
) -> None:
    issuer.discovery = discovery
    assert await IssuerKeys(settings(issuer), client).find("rsa") is None


async def test_keys_that_cannot_be_used_leave_the_others(
    issuer: OidcIssuer, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = issuer.key_set()["keys"]
    odd: list[Any] = [
        7,
        {},
        {"kty": "oct", "kid": "secret", "k": "c2VjcmV0"},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
        {"kty": "EC", "kid": "curve", "crv": "secp256k1", "x": "AA", "y": "AA"},
        good[0] | {"kid": "encrypts", "use": "enc"},
        good[0] | {"kid": "other", "alg": "HS256"},
        {name: value for name, value in good[0].items() if name != "kid"},
    ]
    monkeypatch.setattr(issuer, "key_set", lambda: {"keys": odd + good})
    keys = IssuerKeys(settings(issuer), client)
    for kid in ("rsa", "ec", "ed"):
        assert await keys.find(kid) is not None
    for kid in ("secret", "broken", "curve", "encrypts", "other"):
        assert await keys.find(kid) is None


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_an_issuer_that_answers_badly_is_as_one_that_is_down(
    issuer: OidcIssuer, client: httpx.AsyncClient, status: int
) -> None:
    clock = Clock()
    keys = IssuerKeys(settings(issuer), client, clock)
    await keys.find("rsa")
    issuer.status = status
    clock.now += FRESH + 1
    assert await keys.find("rsa") is not None


async def test_an_issuer_speaks_for_its_organizations_alone(issuer: OidcIssuer) -> None:
    confined = Issuers((settings(issuer, organizations=("acme", "default")),))
    identity = await verify(confined, issuer.token("ec", org="acme"))
    assert (identity.organization, identity.is_confined) == ("acme", True)
    assert (await verify(confined, issuer.token("ec"))).organization == "default"
    error = await refusal(confined, issuer.token("ec", org="another"))
    assert (error.kind, error.code) == (Kind.FORBIDDEN, "organization_not_allowed")
    await confined.close()


async def test_old_keys_are_used_no_longer_than_the_grace(issuer: OidcIssuer, client: httpx.AsyncClient) -> None:
    clock = Clock()
    keys = IssuerKeys(settings(issuer, grace=2 * FRESH), client, clock)
    await keys.find("rsa")
    await issuer.stop()
    clock.now += 2 * FRESH - 1
    assert await keys.find("rsa") is not None
    clock.now += 2
    assert await keys.find("rsa") is None
    assert not keys.is_known
    await issuer.start()
    clock.now += PAUSE
    assert await keys.find("rsa") is not None
    assert keys.is_known


async def test_a_key_that_cannot_be_looked_up_is_not_called_wrong(issuer: OidcIssuer, issuers: Issuers) -> None:
    assert (await verify(issuers, issuer.token("ec"))).organization == "default"
    issuer.add_key("rotated", "ES256")
    token = issuer.token("rotated")
    await issuer.stop()
    found = issuers._issuers[issuer.url][1]
    found._tried_at -= PAUSE
    error = await refusal(issuers, token)
    assert (error.kind, error.code) == (Kind.UNAVAILABLE, "issuer_unavailable")
    assert await verify(issuers, issuer.token("ec")), "those it had go on"
    await issuer.start()
    found._tried_at -= PAUSE
    assert await verify(issuers, token)
    found._tried_at -= PAUSE
    issuer.add_key("ghost", "ES256")
    ghost = issuer.token("ghost")
    del issuer.signing["ghost"]
    assert (await refusal(issuers, ghost)).code == "invalid_token", "the issuer was asked, and does not know it"


async def test_keys_outlive_their_process(issuer: OidcIssuer, tmp_path: Path) -> None:
    path = tmp_path / FILE
    first = Issuers((settings(issuer),), KeptKeys(path, "master"))
    assert await verify(first, issuer.token("rsa"))
    await first.close()
    await issuer.stop()
    second = Issuers((settings(issuer),), KeptKeys(path, "master"))
    for kid in ("rsa", "ec", "ed"):
        assert await verify(second, issuer.token(kid))
    await second.close()
    stranger = Issuers((settings(issuer),), KeptKeys(path, "another"))
    assert (await refusal(stranger, issuer.token("rsa"))).code == "issuer_unavailable"
    await stranger.close()
    path.write_bytes(path.read_bytes().replace(b'"kid":"rsa"', b'"kid":"ray"'))
    third = Issuers((settings(issuer),), KeptKeys(path, "master"))
    assert (await refusal(third, issuer.token("rsa"))).code == "issuer_unavailable", "the seal is broken"
    await third.close()


async def test_kept_keys_grow_old(issuer: OidcIssuer, client: httpx.AsyncClient, tmp_path: Path) -> None:
    kept = KeptKeys(tmp_path / FILE, "master")
    keys = IssuerKeys(settings(issuer), client, kept=kept)
    await keys.find("rsa")
    found = kept.find(issuer.url)
    assert found is not None
    await issuer.stop()
    kept.keep(issuer.url, found.read_at - 86_401, found.keys)
    later = IssuerKeys(settings(issuer), client, kept=KeptKeys(tmp_path / FILE, "master"))
    assert await later.find("rsa") is None


async def test_keys_that_cannot_be_kept_are_used_all_the_same(issuer: OidcIssuer, tmp_path: Path) -> None:
    made = Issuers((settings(issuer),), KeptKeys(tmp_path / "nowhere" / FILE, "master"))
    assert await verify(made, issuer.token("rsa"))
    await made.close()
