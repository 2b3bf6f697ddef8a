"""How long a request may take: what its provider allows, and what its client wants at most (``x-gateway-timeout``)."""

from __future__ import annotations

import re
from typing import Final

from gateway.dataplane.body import invalid
from gateway.settings.model import Timeouts

HEADER: Final = b"x-gateway-timeout"
_LONGEST: Final = 86_400.0
_NAMES: Final = ("connect", "first_token", "stall", "total")
_SECONDS: Final = re.compile(r"[0-9]{1,5}(\.[0-9]{1,6})?")
_EXPECTED: Final = (
    "expected seconds for the whole request, such as 30, or some of connect, first_token, stall and total,"
    " such as first_token=5, total=30; each above 0 and at most 86400"
)


def wanted_timeouts(value: bytes) -> Timeouts:
    """What a client asked for; a day for each deadline it doesn't name. Raises :class:`GatewayError` ``invalid``."""
    text = value.decode("latin-1").strip()
    parts = [text] if "=" in text else [f"total={text}"]
    found: dict[str, float] = {}
    for part in (piece for whole in parts for piece in whole.split(",")):
        name, _, seconds = (word.strip() for word in part.partition("="))
        if name not in _NAMES or name in found or not _SECONDS.fullmatch(seconds):
            raise _wrong(text)
        found[name] = float(seconds)
        if not 0 < found[name] <= _LONGEST:
            raise _wrong(text)
    return Timeouts(**{name: found.get(name, _LONGEST) for name in _NAMES})


def _wrong(text: str) -> Exception:
    return invalid(f"'{text[:100]}' is no timeout: {_EXPECTED}.", HEADER.decode(), "invalid_timeout")


def tighter(provider: Timeouts, wanted: Timeouts) -> Timeouts:
    """The shorter of each deadline: a client can't hold an upstream's connection for longer than its operator lets."""
    return Timeouts(
        connect=min(provider.connect, wanted.connect),
        first_token=min(provider.first_token, wanted.first_token),
        stall=min(provider.stall, wanted.stall),
        total=min(provider.total, wanted.total),
    )
