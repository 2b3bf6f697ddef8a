"""How the planes know each other: one header on every call to a path below ``/internal/`` of the sidecar."""

from __future__ import annotations

import hashlib
import hmac

HEADER = "x-gateway-internal"
PREFIX = "/internal/"
KNOWN = "known.db"
"""The file in ``data_dir`` by which a data plane knows credentials while its sidecar is away."""


def internal_token(master_key: str) -> str:
    """The header's value: HMAC-SHA256 of ``sidecar`` under the master key, in hex. Compare it in constant time."""
    return hmac.new(master_key.encode(), b"sidecar", hashlib.sha256).hexdigest()


FORWARDED = "x-gateway-forwarded"
"""What a data plane adds to the requests it forwards over TCP, so that the sidecar takes its word for the address of
its client. It opens nothing: :data:`HEADER` is another secret."""


def forwarded_token(master_key: str) -> str:
    """The value of :data:`FORWARDED`: HMAC-SHA256 of ``forwarded`` under the master key, in hex."""
    return hmac.new(master_key.encode(), b"forwarded", hashlib.sha256).hexdigest()
