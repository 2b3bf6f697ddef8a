"""Identifiers: ``<prefix>_`` and 26 characters that sort by the time they were made (the ULID layout)."""

from __future__ import annotations

import os
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32
_LENGTH = 26


def new_id(prefix: str) -> str:
    """A new identifier: 48 bits of Unix milliseconds, then 80 random bits."""
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    digits = [_ALPHABET[number >> 5 * place & 31] for place in range(_LENGTH - 1, -1, -1)]
    return f"{prefix}_{''.join(digits)}"
