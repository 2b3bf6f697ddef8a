"""Access tokens for service accounts, with a key made here."""

from __future__ import annotations

from urllib.parse import parse_qs

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.providers.gemini.service_account import service_account, token_request
from gateway.providers.oauth import Token, token_of

NOW = 1_700_000_000.7


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


def test_the_assertion_is_signed_by_the_account(key: RSAPrivateKey) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    file = {"type": "service_account", "client_email": "a@p.iam", "private_key": pem, "private_key_id": "k1"}
    account = service_account(orjson.dumps({**file, "project_id": "p"}))

    asked = token_request(account, NOW)

    assert asked.url == "https://oauth2.googleapis.com/token"
    form = parse_qs(asked.body.decode(), strict_parsing=True)
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    assertion = form["assertion"][0]
    assert jwt.get_unverified_header(assertion) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    claims = jwt.decode(
        assertion, key.public_key(), ["RS256"], audience=asked.url, options={"verify_exp": False, "verify_iat": False}
    )
    assert claims == {
        "iss": "a@p.iam",
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": asked.url,
        "iat": 1_700_000_000,
        "exp": 1_700_003_600,
    }
    assert pem not in repr(account)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("not json", "which is JSON"),
        ('{"client_email": "a"}', "client_email and private_key"),
        ('{"client_email": "a", "private_key": "x", "token_uri": "file:///etc"}', "token_uri"),
    ],
)
def test_a_file_that_is_no_key_file(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        service_account(text)


def test_a_key_that_is_none() -> None:
    account = service_account('{"client_email": "a", "private_key": "secret"}')

    with pytest.raises(ValueError, match="no RSA key") as told:
        token_request(account, NOW)
    assert "secret" not in str(told.value)


def test_the_issuers_answers() -> None:
    assert token_of(200, b'{"access_token": "t", "expires_in": 3599}', 10.0) == Token("t", 3609.0)
    for status, body, told in [
        (400, b'{"error": "invalid_grant", "error_description": "Invalid JWT"}', "invalid_grant Invalid JWT"),
        (200, b"{}", "no access_token"),
        (503, b"<html>", "status 503"),
        (200, b'{"access_token": "t", "expires_in": "soon"}', "expires_in"),
    ]:
        with pytest.raises(ValueError, match=told):
            token_of(status, body, 10.0)
