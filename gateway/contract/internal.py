"""How the planes know each other: one header on every call to a path below ``/internal/`` of the sidecar."""

from __future__ import annotations

import hashlib
import hmac

HEADER = "x-gateway-internal"
PREFIX = "/internal/"


def internal_token(master_key: str) -> str:
    """The header's value: HMAC-SHA256 of ``sidecar`` under the master key, in hex. Compare it in constant time."""
    return hmac.new(master_key.encode(), b"sidecar", hashlib.sha256).hexdigest()
