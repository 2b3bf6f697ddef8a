"""AWS Signature Version 4 for requests with a body in memory, without I/O and without a clock.

Source: "Create a signed AWS API request" in the IAM User Guide. As every service but S3 wants it, the path is encoded
once more for the signature than it is sent.
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final
from urllib.parse import quote

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


class Signer:
    """Signs requests to one service in one region with one set of credentials.

    The key that is derived for a day is kept until the day is over: deriving it costs more than a signature.
    """

    __slots__ = ("_day", "_key", "_secret", "access_key", "region", "service", "session_token")

    def __init__(
        self, access_key: str, secret_key: str, region: str, service: str = "bedrock", session_token: str | None = None
    ) -> None:
        self.access_key = access_key
        self._secret = secret_key
        self.region = region
        self.service = service
        self.session_token = session_token
        self._day = ""
        self._key = b""

    def sign(
        self, method: str, target: str, headers: dict[str, str], payload: bytes, at: float
    ) -> list[tuple[str, str]]:
        """The headers to add: ``x-amz-date``, ``authorization`` and, for temporary credentials, their token.

        ``target`` is the request target as it is sent, with its query; ``headers`` have lower-case names and hold at
        least ``host``; all of them are signed. ``at`` is Unix seconds.
        """
        moment = datetime.fromtimestamp(at, UTC).strftime("%Y%m%dT%H%M%SZ")
        added = [("x-amz-date", moment)]
        if self.session_token is not None:
            added.append(("x-amz-security-token", self.session_token))
        signed = sorted((*headers.items(), *added))
        names = ";".join(name for name, _ in signed)
        path, _, query = target.partition("?")
        canonical = "\n".join(
            (
                method,
                quote(_normal(path), safe="/~"),
                _sorted_query(query),
                *(f"{name}:{' '.join(value.split())}" for name, value in signed),
                "",
                names,
                sha256(payload).hexdigest(),
            )
        )
        scope = f"{moment[:8]}/{self.region}/{self.service}/aws4_request"
        text = f"{_ALGORITHM}\n{moment}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        signature = hmac.new(self._key_of(moment[:8]), text.encode(), sha256).hexdigest()
        credential = f"{self.access_key}/{scope}"
        added.append(
            ("authorization", f"{_ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}")
        )
        return added

    def _key_of(self, day: str) -> bytes:
        if day != self._day:
            key = f"AWS4{self._secret}".encode()
            for part in (day, self.region, self.service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key, self._day = key, day
        return self._key


def _normal(path: str) -> str:
    """The path without empty and dot segments (RFC 3986 §5.2.4)."""
    if "//" not in path and "/." not in path:
        return path or "/"
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del kept[-1:]
        elif part and part != ".":
            kept.append(part)
    return "/" + "/".join(kept) + ("/" if kept and path.endswith("/") else "")


def _sorted_query(query: str) -> str:
    pairs = (part.partition("=") for part in query.split("&") if part)
    return "&".join(f"{name}={value}" for name, _, value in sorted(pairs, key=lambda pair: (pair[0], pair[2])))
