"""Passwords: hashed with Argon2id in threads of their own, at a cost that does not tell who exists.

The parameters are the second recommended by the OWASP Password Storage Cheat Sheet: 19 MiB, two passes, one lane.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from gateway.domain.fields import invalid
from gateway.kernel.errors import GatewayError, Kind

SHORTEST, LONGEST = 8, 1_024
_MOST_WAITING = 200
_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, type=Type.ID)
# The hash of a random password nobody was told: what a user who does not exist, or has no password, is checked against.
_NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$+kuFLUDgaNYehnMfO9kkGg$Jao36EHUgIeXkBs9ox+bzP4S/5uBEOHeV/DFgBWgcFg"
_Result = TypeVar("_Result")


class _Threads:
    """Two threads, and a queue before them that has an end."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="passwords")
        self._waiting = 0

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """What ``work`` gives. Raises :class:`GatewayError` (UNAVAILABLE ``busy``) where too many wait."""
        if self._waiting >= _MOST_WAITING:
            raise GatewayError(Kind.UNAVAILABLE, "busy", "Too many sign-ins are under way; try again.", retry_after=1.0)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


_threads = _Threads()


async def hashed(password: str) -> str:
    """The password as it is stored. Raises :class:`GatewayError` (INVALID) for one too short or too long."""
    checked = acceptable(password)
    return await _threads.run(lambda: _hasher.hash(checked))


async def matches(stored: str | None, password: str) -> bool:
    """Whether ``password`` is the one of the hash; always False for None, in the same time."""
    if len(password) > LONGEST:
        return False
    matched = await _threads.run(lambda: _verify(stored or _NOBODY, password))
    return matched and stored is not None


def is_outdated(stored: str) -> bool:
    """Whether the hash was made with other parameters than today's."""
    return _hasher.check_needs_rehash(stored)


def acceptable(password: str) -> str:
    """The password, if it may be one. Raises :class:`GatewayError` (INVALID, field ``password``)."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise invalid(f"password must have {SHORTEST} to {LONGEST} characters.", "password")
    if any("\ud800" <= character <= "\udfff" for character in password):
        raise invalid("password must be valid text.", "password")
    return password


def _verify(stored: str, password: str) -> bool:
    try:
        # A lone surrogate has no bytes to hash; no stored password holds one.
        return _hasher.verify(stored, password.encode("utf-8", "replace"))
    except (VerificationError, InvalidHashError):
        return False
