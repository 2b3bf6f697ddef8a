"""Takes secrets out of messages, whatever way they got in.

Messages are written so that they hold none. This is the second line of defence: a secret that was pasted in the place
of a name is not shown either.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec.structs import replace

from gateway.settings.faults import Fault

# Shorter values are no secrets, and hiding them would make other messages unreadable.
SHORTEST = 6

_SECRET_KEY = re.compile(r"(?i)key\Z|password|secret|token|credential|authorization|service_account")
_IN_URL = re.compile(r"://[^/@\s]*:([^/@\s]+)@")


def redact(faults: Iterable[Fault], data: object, expanded: Iterable[str]) -> list[Fault]:
    """The faults without the secrets of ``data`` and without what placeholders gave."""
    secrets = sorted({item for item in (*_secrets(data, False), *expanded) if len(item) >= SHORTEST}, key=len)
    # The longest first, as one may be part of another.
    pattern = re.compile("|".join(re.escape(item) for item in reversed(secrets))) if secrets else None
    return [_redacted(fault, pattern) if pattern is not None else fault for fault in faults]


def _redacted(fault: Fault, pattern: re.Pattern[str]) -> Fault:
    return replace(
        fault,
        path=pattern.sub("…", fault.path),
        message=pattern.sub("…", fault.message),
        hint=pattern.sub("…", fault.hint) if fault.hint is not None else None,
    )


def _secrets(value: Any, inside: bool) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _secrets(item, inside or name == "headers" or _SECRET_KEY.search(name) is not None)
    elif isinstance(value, list):
        for item in value:
            yield from _secrets(item, inside)
    elif isinstance(value, str):
        if inside:
            yield value
        yield from _IN_URL.findall(value)
