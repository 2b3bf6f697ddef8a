"""Secrets as they are kept: a digest to look them up by, and a mask to show them with."""

from __future__ import annotations

import hashlib

_SHOWN = 4


def digest_of(secret: bytes) -> bytes:
    """SHA-256 of a credential, 32 bytes: what is stored and looked up instead of the secret.

    No salt and no stretching: a credential is made of random bits, so there is nothing to guess.
    """
    return hashlib.sha256(secret).digest()


def masked(prefix: str, last: str) -> str:
    """A credential as a list may show it: ``gw_live_…a1b2``. ``last`` is cut to its last four characters."""
    return f"{prefix}…{last[-_SHOWN:]}"
