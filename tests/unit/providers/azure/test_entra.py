"""Access tokens of Microsoft Entra, and which providers get one."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import pytest

from gateway.providers.azure.entra import token_request
from gateway.providers.credentials import asker_for

ENTRA = {"tenant_id": "t/1", "client_id": "c", "client_secret": "s&x"}


def test_the_credentials_of_an_application() -> None:
    asked = token_request("t/1", "c", "s&x")

    assert asked.url == "https://login.microsoftonline.com/t%2F1/oauth2/v2.0/token"
    assert parse_qs(asked.body.decode(), strict_parsing=True) == {
        "grant_type": ["client_credentials"],
        "client_id": ["c"],
        "client_secret": ["s&x"],
        "scope": ["https://cognitiveservices.azure.com/.default"],
    }


@pytest.mark.parametrize(
    ("kind", "options", "asks"),
    [
        ("azure", ENTRA, True),
        ("azure_v1", {**ENTRA, "authority": "http://127.0.0.1:1"}, True),
        ("azure", {"resource": "r"}, False),
        ("groq", ENTRA, False),
        ("vertex", {"project": "p"}, False),
        ("vertex", {"service_account": '{"client_email": "a", "private_key": "b"}'}, True),
    ],
)
def test_who_gets_a_token(kind: str, options: dict[str, Any], asks: bool) -> None:
    assert (asker_for(kind, options) is not None) == asks


def test_half_a_credential_is_refused() -> None:
    with pytest.raises(ValueError, match="client_id and client_secret"):
        asker_for("azure", {"tenant_id": "t"})
    with pytest.raises(ValueError, match="key file"):
        asker_for("vertex", {"service_account": "{}"})
