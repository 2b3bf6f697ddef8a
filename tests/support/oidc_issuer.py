"""An OpenID Connect issuer on loopback with real keys, which can be rotated, broken and switched off."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.support.ports import free_port

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey
DISCOVERY = "/realms/test/.well-known/openid-configuration"
KEYS = "/realms/test/keys"


class OidcIssuer:
    """Publishes its keys at the documented paths and signs tokens with them."""

    def __init__(self) -> None:
        self.port = free_port()  # the same after a pause
        self.asked: list[str] = []
        self.signing: dict[str, tuple[str, PrivateKey]] = {}
        self.discovery: dict[str, Any] = {}
        self.status = 200
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The issuer, as in its tokens."""
        return f"http://127.0.0.1:{self.port}/realms/test"

    def add_key(self, kid: str, algorithm: str) -> None:
        """Make and publish a key: RS256, ES256 or EdDSA."""
        key: PrivateKey
        if algorithm == "RS256":
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        elif algorithm == "ES256":
            key = ec.generate_private_key(ec.SECP256R1())
        else:
            key = Ed25519PrivateKey.generate()
        self.signing[kid] = (algorithm, key)

    def token(self, kid: str, *, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token for ``gateway``, valid for a minute; a claim given as None is left out."""
        now = int(time.time())
        every = {
            "iss": self.url,
            "aud": "gateway",
            "sub": "u-1",
            "exp": now + 60,
            "nbf": now,
            "email": "ann@example.com",
            "email_verified": True,
            "preferred_username": "ann",
        } | claims
        algorithm, key = self.signing[kid]
        given = {name: value for name, value in every.items() if value is not None}
        return jwt.encode(given, key, algorithm=algorithm, headers={"kid": kid} | (headers or {}))

    def key_set(self) -> dict[str, Any]:
        """The public keys."""
        found = []
        for kid, (algorithm, key) in self.signing.items():
            if isinstance(key, rsa.RSAPrivateKey):
                numbers = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
            elif isinstance(key, ec.EllipticCurvePrivateKey):
                numbers = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
            else:
                numbers = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
            numbers.pop("key_ops", None)
            found.append(numbers | {"kid": kid, "use": "sig", "alg": algorithm})
        return {"keys": found}

    async def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Be unreachable."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ")[1].decode()
        self.asked.append(path)
        document: dict[str, Any] = {"issuer": self.url, "jwks_uri": f"http://127.0.0.1:{self.port}{KEYS}"}
        body = json.dumps(self.key_set() if path == KEYS else document | self.discovery).encode()
        status = self.status if path in (KEYS, DISCOVERY) else 404
        writer.write(b"HTTP/1.1 %d x\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (status, len(body), body))
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def running_issuer(*keys: tuple[str, str]) -> AsyncIterator[OidcIssuer]:
    """A running issuer with keys given as (kid, algorithm)."""
    issuer = OidcIssuer()
    for kid, algorithm in keys:
        issuer.add_key(kid, algorithm)
    await issuer.start()
    try:
        yield issuer
    finally:
        await issuer.stop()
