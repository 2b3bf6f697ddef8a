"""What the tests of authentication share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from gateway.domain.actor import SYSTEM
from gateway.domain.authentication.service import Authenticator
from gateway.domain.authentication.sessions import Sessions
from gateway.domain.authentication.start import ensure_accounts
from gateway.domain.oidc.service import Issuers
from gateway.domain.tokens.service import Tokens
from gateway.domain.users.attempts import Attempts
from gateway.settings.model import Admin, Jwt, Key, Oidc, Settings
from tests.support.accounts import Accounts
from tests.support.oidc_issuer import OidcIssuer, running_issuer

MASTER_KEY = "gw_live_the_master_key"
ADMIN = Admin(email="Admin@example.com", password="the first password")


class Gateway:
    """What authenticates, over one store."""

    def __init__(self, accounts: Accounts, issuer: OidcIssuer) -> None:
        oidc = Oidc(issuer=issuer.url, audience="gateway", organization_claim="org", role_claim="role")
        key = Key(key="gw_live_static_1", name="demo", organization="acme", models=("small",))
        self.settings = Settings(admin=ADMIN, oidc=(oidc,), keys=(key,))
        self.accounts = accounts
        self.issuer = issuer
        self.tokens = Tokens(Jwt(), MASTER_KEY)
        self.issuers = Issuers(self.settings.oidc)
        self.authenticator = self.authenticator_of(self.settings)
        self.sessions = Sessions(accounts.works, self.tokens, Attempts())

    def authenticator_of(self, settings: Settings) -> Authenticator:
        return Authenticator(self.accounts.works, settings, MASTER_KEY, self.tokens, self.issuers)


@pytest.fixture
async def gateway(accounts: Accounts) -> AsyncIterator[Gateway]:
    """A gateway with the accounts its configuration names, whose clock stands at the present time."""
    async with running_issuer(("k1", "ES256")) as issuer:
        made = Gateway(accounts, issuer)
        accounts.clock.now = datetime.now(UTC)
        async with accounts.begin(SYSTEM) as work:
            await ensure_accounts(work, made.settings)
        yield made
        await made.issuers.close()
