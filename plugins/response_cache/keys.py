"""Which requests are the same, and what a client's ``Cache-Control`` asks for (RFC 9111, section 5.2.1)."""

from __future__ import annotations

import hashlib

import orjson
from msgspec import Struct

from gateway.plugin.api import Request

NOT_SEMANTIC = frozenset(("user", "metadata", "safety_identifier", "prompt_cache_key", "stream"))
"""Members of a body that do not change what is answered. ``stream`` is part of the key on its own."""

_VERSION = 1


def key_of(request: Request) -> str:
    """The key of a request: equal for equal bodies of one organisation, endpoint, model and way of answering.

    What a learned route decides by beside the prompt parts them, too: another target would have answered.
    """
    body = {name: value for name, value in request.body.items() if name not in NOT_SEMANTIC}
    if not request.stream:
        body.pop("stream_options", None)
    body["model"] = request.model
    parts = [_VERSION, request.organization, request.endpoint, request.stream, body]
    if request.route_wish:  # others keep the keys they had
        parts.append(request.route_wish)
    canonical = orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()


class Wish(Struct, frozen=True):
    """What the client wants of the cache. ``max_age`` is in seconds."""

    read: bool = True
    write: bool = True
    only_cached: bool = False
    max_age: int | None = None


ANYTHING = Wish()


def wish_of(header: str | None) -> Wish:
    """The directives of a ``Cache-Control`` header; unknown ones are ignored."""
    if not header:
        return ANYTHING
    directives: dict[str, str] = {}
    for part in header.lower().split(","):
        name, _, value = part.strip().partition("=")
        directives[name.strip()] = value.strip().strip('"')
    max_age: int | None = None
    if "max-age" in directives:
        value = directives["max-age"]
        # One that cannot be read counts as stale (section 4.2.1).
        max_age = int(value) if value.isascii() and value.isdigit() and len(value) < 12 else 0
    return Wish(
        read="no-store" not in directives and "no-cache" not in directives,
        write="no-store" not in directives,
        only_cached="only-if-cached" in directives,
        max_age=max_age,
    )
