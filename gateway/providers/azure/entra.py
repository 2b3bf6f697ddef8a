"""Access tokens of Microsoft Entra for Azure OpenAI.

Source: "Microsoft identity platform and the OAuth 2.0 client credentials flow".
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from gateway.providers.oauth import TokenRequest, form

AUTHORITY: Final = "https://login.microsoftonline.com"
SCOPE: Final = "https://cognitiveservices.azure.com/.default"


def token_request(
    tenant_id: str, client_id: str, client_secret: str, authority: str = AUTHORITY, scope: str = SCOPE
) -> TokenRequest:
    """What to ask for a token with. ``authority`` differs in sovereign clouds."""
    url = f"{authority.rstrip('/')}/{quote(tenant_id, safe='')}/oauth2/v2.0/token"
    return form(url, grant_type="client_credentials", client_id=client_id, client_secret=client_secret, scope=scope)
