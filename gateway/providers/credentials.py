"""Which providers get access tokens from an issuer, and how each is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

from gateway.providers.azure import entra
from gateway.providers.oauth import TokenRequest


def asker_for(kind: str, options: Mapping[str, Any]) -> Callable[[float], TokenRequest] | None:
    """What makes a request for a token, given the time in Unix seconds; None where a provider has a key.

    Raises :class:`ValueError` for options that can be no credential.
    """
    if kind == "vertex" and options.get("service_account"):
        # The library that signs is loaded only where something is to be signed.
        accounts = import_module("gateway.providers.gemini.service_account")
        ask: Callable[[float], TokenRequest] = partial(
            accounts.token_request, accounts.service_account(options["service_account"])
        )
        return ask
    if kind in ("azure", "azure_v1") and options.get("tenant_id"):
        missing = [name for name in ("client_id", "client_secret") if not options.get(name)]
        if missing:
            raise ValueError(f"tenant_id needs {' and '.join(missing)} too")
        asked = entra.token_request(
            options["tenant_id"],
            options["client_id"],
            options["client_secret"],
            options.get("authority") or entra.AUTHORITY,
        )
        return lambda now: asked
    return None
