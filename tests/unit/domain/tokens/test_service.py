"""Our own tokens: what verifies, what does not, renewal, theft, and rotation of keys."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from typing import Any

import jwt
import pytest
from sqlalchemy import select

from gateway.domain.tokens.model import RefreshFamily, SigningKey
from gateway.domain.tokens.service import Claims, TokenPair, Tokens
from gateway.domain.users.model import User
from gateway.domain.users.requests import UserUpdate
from gateway.domain.users.service import UserService
from gateway.kernel.errors import GatewayError, Kind
from gateway.settings.model import Jwt
from tests.support.accounts import MASTER, Accounts

MASTER_KEY = "gw_live_of_the_tests"


@pytest.fixture
async def user(accounts: Accounts) -> User:
    await accounts.organization("acme")
    return await accounts.user("a@example.com", "acme")


def tokens(algorithm: str = "ES256", **settings: Any) -> Tokens:
    return Tokens(Jwt(algorithm=algorithm, **settings), MASTER_KEY)  # type: ignore[arg-type]


async def issue(accounts: Accounts, made: Tokens, user: User) -> TokenPair:
    async with accounts.begin(MASTER) as work:
        return await made.issue(work, user.id, "acme")


async def renew(accounts: Accounts, made: Tokens, token: str) -> TokenPair | None:
    async with accounts.begin(MASTER) as work:
        return await made.renew(work, token)


async def verify(accounts: Accounts, made: Tokens, token: str, use: Any = "access") -> Claims:
    async with accounts.read(MASTER) as work:
        return await made.verify(work, token, use)


async def refusal(accounts: Accounts, made: Tokens, token: str, use: Any = "access") -> str:
    with pytest.raises(GatewayError) as caught:
        await verify(accounts, made, token, use)
    assert caught.value.kind is Kind.UNAUTHENTICATED
    return caught.value.code


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES256"])
async def test_a_token_says_whose_it_is(accounts: Accounts, user: User, algorithm: str) -> None:
    made = tokens(algorithm)
    pair = await issue(accounts, made, user)
    claims = await verify(accounts, made, pair.access_token)
    assert (claims.user, claims.organization) == (user.id, "acme")
    assert claims.expires_at.timestamp() == int(accounts.clock.now.timestamp()) + 3600
    assert (pair.expires_in, pair.token_type, pair.refresh_expires_in) == (3600, "Bearer", 2_592_000)
    header = jwt.get_unverified_header(pair.access_token)
    assert header["alg"] == algorithm
    async with accounts.read(MASTER) as work:
        keys = (await made.keys.jwks(work))["keys"]
        stored = (await work.session.scalars(select(SigningKey))).one()
    assert [key["kid"] for key in keys] == ([] if algorithm == "HS256" else [header["kid"]])
    assert all("d" not in key for key in keys)
    assert "PRIVATE" not in stored.private
    if algorithm != "HS256":
        unverified = {"verify_exp": False, "verify_nbf": False, "verify_aud": False, "verify_iat": False}
        found = jwt.decode(
            pair.access_token,
            jwt.PyJWK(keys[0]),
            algorithms=[algorithm],
            options=unverified,  # type: ignore[arg-type]
        )
        assert (found["sub"], found["iss"], found["aud"]) == (user.id, "llm-gateway", "llm-gateway")


async def test_another_process_verifies_what_this_one_signed(accounts: Accounts, user: User) -> None:
    pair = await issue(accounts, tokens(), user)
    assert (await verify(accounts, tokens(), pair.access_token)).user == user.id


async def test_a_refresh_token_is_no_access_token_and_the_other_way_round(accounts: Accounts, user: User) -> None:
    made = tokens()
    pair = await issue(accounts, made, user)
    assert await refusal(accounts, made, pair.refresh_token) == "invalid_token"
    assert await refusal(accounts, made, pair.access_token, "refresh") == "invalid_token"


async def test_times_hold_with_thirty_seconds_of_leeway(accounts: Accounts, user: User) -> None:
    made = tokens()
    pair = await issue(accounts, made, user)
    accounts.clock.advance(3600 + 29)
    await verify(accounts, made, pair.access_token)
    accounts.clock.advance(1)
    assert await refusal(accounts, made, pair.access_token) == "token_expired"
    accounts.clock.advance(-3600 - 30 - 31)
    assert await refusal(accounts, made, pair.access_token) == "invalid_token"


def altered(token: str, header: dict[str, Any] | None = None, claims: dict[str, Any] | None = None) -> str:
    """The token with another header or other claims under the old signature."""
    parts = token.split(".")
    for index, change in ((0, header), (1, claims)):
        if change is not None:
            found = json.loads(base64.urlsafe_b64decode(parts[index] + "=="))
            parts[index] = base64.urlsafe_b64encode(json.dumps(found | change).encode()).rstrip(b"=").decode()
    return ".".join(parts)


async def test_changed_tokens_are_refused(accounts: Accounts, user: User) -> None:
    made = tokens()
    token = (await issue(accounts, made, user)).access_token
    body, signature = token.rsplit(".", 1)
    changed = [
        altered(token, claims={"sub": "user_other"}),
        altered(token, claims={"exp": 9_999_999_999}),
        altered(token, header={"alg": "none"}),
        altered(token, header={"kid": "another"}),
        altered(token, header={"kid": ["a"]}),
        f"{body}.",
        f"{body}.{signature[:-4]}AAAA",
        "a.b.c",
        "...",
        "",
        token + "x" * 9_000,
    ]
    for other in changed:
        assert await refusal(accounts, made, other) == "invalid_token"


async def test_a_public_key_is_never_taken_for_a_secret(accounts: Accounts, user: User) -> None:
    """The old trick: sign with HMAC, and the public key in PEM as the secret."""
    made = tokens("RS256")
    token = (await issue(accounts, made, user)).access_token
    async with accounts.read(MASTER) as work:
        public = (await work.session.scalars(select(SigningKey.public))).one()
    assert public is not None
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    header = base64.urlsafe_b64encode(
        json.dumps({"alg": "HS256", "typ": "JWT", "kid": jwt.get_unverified_header(token)["kid"]}).encode()
    ).rstrip(b"=")
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    message = header + b"." + body
    signature = base64.urlsafe_b64encode(hmac.digest(public.encode(), message, "sha256")).rstrip(b"=")
    forged = (message + b"." + signature).decode()
    assert await refusal(accounts, made, forged) == "invalid_token"


async def test_tokens_of_another_issuer_or_audience_are_refused(accounts: Accounts, user: User) -> None:
    token = (await issue(accounts, tokens(issuer="another"), user)).access_token
    assert await refusal(accounts, tokens(), token) == "invalid_token"


async def test_a_refresh_token_is_good_for_one_use(accounts: Accounts, user: User) -> None:
    made = tokens()
    first = await issue(accounts, made, user)
    second = await renew(accounts, made, first.refresh_token)
    assert second is not None
    third = await renew(accounts, made, second.refresh_token)
    assert third is not None
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    before = await accounts.last_seq()
    assert await renew(accounts, made, first.refresh_token) is None
    assert await renew(accounts, made, third.refresh_token) is None
    (record,) = await accounts.records("auth.refresh_token.reused")
    assert (record.severity, record.status, record.details) == ("critical", "denied", {"user_id": user.id})
    assert await accounts.changes(before) == [("user", user.id, None)]
    claims = await verify(accounts, made, third.access_token)
    async with accounts.read(MASTER) as work:
        assert await made.is_live(work, claims) is False


async def test_of_two_renewals_at_once_one_succeeds(accounts: Accounts, user: User) -> None:
    made = tokens()
    pair = await issue(accounts, made, user)
    found = await asyncio.gather(*(renew(accounts, made, pair.refresh_token) for _ in range(5)))
    assert sum(item is not None for item in found) == 1


async def test_a_refresh_token_expires(accounts: Accounts, user: User) -> None:
    made = tokens(refresh_ttl=60.0)
    pair = await issue(accounts, made, user)
    accounts.clock.advance(91)
    with pytest.raises(GatewayError, match="expired"):
        await renew(accounts, made, pair.refresh_token)


@pytest.mark.parametrize("update", [UserUpdate(password="another password"), UserUpdate(status="disabled")])
async def test_a_new_password_or_status_ends_every_sign_in(accounts: Accounts, user: User, update: UserUpdate) -> None:
    made = tokens()
    pair = await issue(accounts, made, user)
    async with accounts.begin(MASTER) as work:
        await UserService(work).update(user.id, update)
    assert await renew(accounts, made, pair.refresh_token) is None


async def test_rotated_keys_verify_until_their_tokens_are_over(accounts: Accounts, user: User) -> None:
    made = tokens(access_ttl=600.0, refresh_ttl=600.0)
    old = await issue(accounts, made, user)
    async with accounts.begin(MASTER) as work:
        await made.keys.rotate(work)
    new = await issue(accounts, made, user)
    kids = [jwt.get_unverified_header(pair.access_token)["kid"] for pair in (old, new)]
    assert kids[0] != kids[1]
    for ring in (made, tokens()):
        await verify(accounts, ring, old.access_token)
        await verify(accounts, ring, new.access_token)
    async with accounts.read(MASTER) as work:
        assert {key["kid"] for key in (await made.keys.jwks(work))["keys"]} == set(kids)
    accounts.clock.advance(631)
    for ring in (made, tokens()):
        assert await refusal(accounts, ring, old.access_token) in ("invalid_token", "token_expired")
    async with accounts.read(MASTER) as work:
        assert {key["kid"] for key in (await made.keys.jwks(work))["keys"]} == {kids[1]}


async def test_another_algorithm_begins_with_a_new_key_and_keeps_the_old(accounts: Accounts, user: User) -> None:
    old = await issue(accounts, tokens("HS256"), user)
    made = tokens("ES256")
    new = await issue(accounts, made, user)
    for token in (old.access_token, new.access_token):
        assert (await verify(accounts, made, token)).user == user.id


async def test_under_another_master_key_new_keys_are_made(accounts: Accounts, user: User) -> None:
    old = await issue(accounts, tokens("HS256"), user)
    other = Tokens(Jwt(algorithm="HS256"), "another master key")
    new = await issue(accounts, other, user)
    assert (await verify(accounts, other, new.access_token)).user == user.id
    assert await refusal(accounts, other, old.access_token) == "invalid_token"


async def test_what_is_over_is_forgotten(accounts: Accounts, user: User) -> None:
    made = tokens(access_ttl=600.0, refresh_ttl=60.0)
    pair = await issue(accounts, made, user)
    accounts.clock.advance(300)
    await issue(accounts, made, user)
    claims = await verify(accounts, made, pair.access_token)
    async with accounts.read(MASTER) as work:
        assert await made.is_live(work, claims)
    accounts.clock.advance(400)
    await issue(accounts, made, user)
    async with accounts.read(MASTER) as work:
        assert len((await work.session.scalars(select(RefreshFamily))).all()) == 2
