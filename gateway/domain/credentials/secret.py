"""How secrets are made and spelt: ``gw_live_…``, ``sk_test_…``, ``app_<uuid>:sk_…``."""

from __future__ import annotations

import secrets
import string
from typing import Literal

from gateway.kernel.secrets import Seal

Family = Literal["gw", "sk"]
Environment = Literal["live", "test", "staging", "development"]

ENVIRONMENTS: dict[str, str] = {"live": "live", "test": "test", "staging": "staging", "development": "dev"}
"""The word in a ``gw_`` key's prefix for each environment."""
APP_PREFIX = "sk_"
_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 43  # 62^43 > 2^256


def key_prefix(family: Family, environment: str, *, administrative: bool = False) -> str:
    """What a key begins with. ``sk_`` keys know live and test alone; those that administer say so."""
    if family == "gw":
        return f"gw_{ENVIRONMENTS[environment]}_"
    if administrative:
        return "sk_admin_"
    return "sk_live_" if environment == "live" else "sk_test_"


def new_secret(prefix: str, seal: Seal) -> str:
    """A new secret: the prefix, 256 random bits as 43 letters and digits, and the deployment's mark."""
    body = prefix + "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    return body + seal.mark(body.encode()).decode()


def app_bearer(app_id: str, secret: str) -> str:
    """What an app sends, and what its credential's digest is of."""
    return f"{app_id}:{secret}"
