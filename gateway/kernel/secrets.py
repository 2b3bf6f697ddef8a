"""Secrets as they are kept: a digest to look them up by, and a mask to show them with."""

from __future__ import annotations

import hashlib
import hmac

_SHOWN = 4
_MARK = 8  # hex digits: one guess in four thousand million is worth a look-up


def digest_of(secret: bytes) -> bytes:
    """SHA-256 of a credential, 32 bytes: what is stored and looked up instead of the secret.

    No salt and no stretching: a credential is made of random bits, so there is nothing to guess.
    """
    return hashlib.sha256(secret).digest()


def masked(prefix: str, last: str) -> str:
    """A credential as a list may show it: ``gw_live_…a1b2``. ``last`` is cut to its last four characters."""
    return f"{prefix}…{last[-_SHOWN:]}"


class Seal:
    """Marks the secrets that this deployment makes, so that one it never made is known without a look-up.

    The last eight characters of a secret are an HMAC of what stands before them, keyed with the master key. A mark says
    nothing of whether the secret is still good, and a secret without one may be good all the same: it was made under
    another master key.
    """

    __slots__ = ("_key",)

    def __init__(self, master_key: str) -> None:
        self._key = hmac.digest(master_key.encode(), b"credentials", "sha256")

    def mark(self, body: bytes) -> bytes:
        """What a secret that begins with ``body`` ends with: eight hex digits."""
        return hmac.digest(self._key, body, "sha256")[: _MARK // 2].hex().encode()

    def holds(self, secret: bytes) -> bool:
        """Whether a secret carries its mark. Of ``app_…:sk_…`` the part behind the colon does."""
        bare = secret[secret.rfind(b":") + 1 :]
        return hmac.compare_digest(self.mark(bare[:-_MARK]), bare[-_MARK:])
