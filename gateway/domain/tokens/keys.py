"""The keys that sign tokens: made, kept encrypted under the master key, rotated.

Tokens name their key (``kid``), and a key signs with one algorithm: what algorithm a token claims is never asked.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from msgspec import Struct

from gateway.domain.tokens import repo
from gateway.domain.tokens.model import SigningKey
from gateway.domain.work import Work

Algorithm: TypeAlias = Literal["HS256", "RS256", "ES256"]
_log = logging.getLogger(__name__)
_RSA_BITS = 2048


class VerifyingKey(Struct, frozen=True):
    """What a token is verified with: one algorithm, and its secret (HS256) or public key in PEM."""

    kid: str
    algorithm: str
    material: str
    until: datetime | None
    """When the last token it signed is over; None while it signs."""


class KeyRing:
    """The signing keys of this gateway. What was read of them is kept; a key that is not known is looked for again."""

    def __init__(self, master_key: str, algorithm: Algorithm, overlap: timedelta) -> None:
        derived = HKDF(SHA256(), 32, salt=None, info=b"llm-gateway signing keys").derive(master_key.encode())
        self._fernet = Fernet(base64.urlsafe_b64encode(derived))
        self._algorithm = algorithm
        self._overlap = overlap
        self._known: dict[str, VerifyingKey] = {}

    async def verifying(self, work: Work, kid: str) -> VerifyingKey | None:
        """The key of that name, as long as its tokens may be valid."""
        if kid not in self._known:
            await self._load(work)
        key = self._known.get(kid)
        return None if key is None or (key.until is not None and key.until <= work.now) else key

    async def signing(self, work: Work) -> tuple[str, str, str]:
        """Name, algorithm and private material of the key that signs now; made where there is none."""
        for row in await repo.keys(work.session, work.now):
            private = self._decrypted(row)
            if row.retired_at is None and row.algorithm == self._algorithm and private is not None:
                return row.kid, row.algorithm, private
        row = await self.rotate(work)
        private = self._decrypted(row)
        assert private is not None
        return row.kid, row.algorithm, private

    async def rotate(self, work: Work) -> SigningKey:
        """Sign with a new key from now on. The old ones verify until the last of their tokens is over."""
        for old in await repo.keys(work.session, work.now):
            if old.retired_at is None:
                old.retired_at, old.verify_until = work.now, work.now + self._overlap
        # An RSA key takes up to a second to find.
        private, public = await asyncio.to_thread(_generate, self._algorithm)
        row = SigningKey(
            kid=secrets.token_hex(8),
            algorithm=self._algorithm,
            private=self._fernet.encrypt(private.encode()).decode(),
            public=public,
            created_at=work.now,
        )
        work.session.add(row)
        await work.session.flush()
        self._known.clear()
        await work.audit("auth.signing_key.created", "signing_key", row.kid, after={"algorithm": row.algorithm})
        return row

    async def jwks(self, work: Work) -> dict[str, Any]:
        """The public keys as a JSON Web Key Set (RFC 7517); those of HS256 have no public half."""
        rows = await repo.keys(work.session, work.now)
        return {"keys": [_jwk(row.kid, row.algorithm, row.public) for row in rows if row.public is not None]}

    async def _load(self, work: Work) -> None:
        found: dict[str, VerifyingKey] = {}
        for row in await repo.keys(work.session, work.now):
            material = row.public or self._decrypted(row)
            if material is not None:
                found[row.kid] = VerifyingKey(row.kid, row.algorithm, material, row.verify_until)
        self._known = found

    def _decrypted(self, row: SigningKey) -> str | None:
        try:
            return self._fernet.decrypt(row.private).decode()
        except InvalidToken:
            _log.warning("a signing key was made under another master key and is not used", extra={"kid": row.kid})
            return None


def _generate(algorithm: Algorithm) -> tuple[str, str | None]:
    if algorithm == "HS256":
        return secrets.token_hex(32), None
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    if algorithm == "RS256":
        key = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def _jwk(kid: str, algorithm: str, public: str) -> dict[str, Any]:
    key = serialization.load_pem_public_key(public.encode())
    if isinstance(key, rsa.RSAPublicKey):
        numbers = RSAAlgorithm.to_jwk(key, as_dict=True)
    else:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        numbers = ECAlgorithm.to_jwk(key, as_dict=True)
    numbers.pop("key_ops", None)
    return numbers | {"kid": kid, "alg": algorithm, "use": "sig"}
