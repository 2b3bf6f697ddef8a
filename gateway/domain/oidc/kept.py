"""The public keys of issuers, kept for a start while an issuer is away.

They are no secrets, but who could put a key of their own among them could sign any token: the file is sealed with a key
made of the master key, and one that is not sealed so counts as none.
"""

from __future__ import annotations

import hmac
import logging
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gateway.kernel.files import replace

FILE = "issuers.json"
_log = logging.getLogger(__name__)


class KeptSet(Struct):
    """The key set of an issuer as it was published, and when it was read (Unix seconds)."""

    read_at: float
    keys: list[Any]


_decode = msgspec.json.Decoder(dict[str, KeptSet]).decode


class KeptKeys:
    """The file at ``path``. Nothing here fails: what can't be read is not there, what can't be written is logged."""

    def __init__(self, path: Path, master_key: str) -> None:
        self._path = path
        self._key = hmac.digest(master_key.encode(), b"issuers", "sha256")
        self._sets = self._read()

    def find(self, issuer: str) -> KeptSet | None:
        """What is kept of an issuer."""
        return self._sets.get(issuer)

    def keep(self, issuer: str, read_at: float, keys: list[Any]) -> None:
        """Keep the key set of an issuer."""
        self._sets[issuer] = KeptSet(read_at, keys)
        body = msgspec.json.encode(self._sets)
        try:
            replace(self._path, self._seal(body) + b"\n" + body, mode=0o600)
        except OSError as error:
            _log.warning("the keys of issuers cannot be kept for a restart", extra={"error": str(error)})

    def _read(self) -> dict[str, KeptSet]:
        try:
            seal, _, body = self._path.read_bytes().partition(b"\n")
            return _decode(body) if hmac.compare_digest(seal, self._seal(body)) else {}
        except (OSError, msgspec.MsgspecError):
            return {}

    def _seal(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256").hex().encode()
