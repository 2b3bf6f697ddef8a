"""What a client carries to and fro without reading it: the mark, then JSON in base64.

Vendors sign thoughts and tool calls, and want the signatures back unchanged. Where a client's protocol has no field of
its own for one, it has one whose content clients pass on as it is. It is our own form and not encrypted by us.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from typing import Final

import msgspec

from gateway.protocols.base import Json

_MARK: Final = "gw1."
_UNSIGNED: Final = re.compile(rb'"signature"\s*:\s*""')
_decode: Final = msgspec.json.Decoder(Json).decode


def seal(kept: Json) -> str:
    """``kept`` in a form that clients carry."""
    return _MARK + b64encode(msgspec.json.encode(kept)).decode()


def is_sealed(content: object) -> bool:
    """Whether :func:`seal` made it."""
    return isinstance(content, str) and content.startswith(_MARK)


def unseal(content: str) -> Json:
    """What :func:`seal` took. Raises :class:`ValueError` for one that was changed."""
    try:
        return _decode(b64decode(content.removeprefix(_MARK), validate=True))
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise ValueError("the content was changed") from None


def carries(raw: bytes) -> bool:
    """Whether a request, as JSON, may have something sealed in it, or a thought that nobody signed."""
    return b'"gw1.' in raw or (b'"signature"' in raw and _UNSIGNED.search(raw) is not None)


def signatures_of(calls: object) -> dict[str, Json]:
    """``extra_content`` of each tool call that has one, by the call's id."""
    return {
        call["id"]: call["extra_content"]
        for call in (calls if isinstance(calls, list) else ())
        if isinstance(call, dict) and isinstance(call.get("id"), str) and isinstance(call.get("extra_content"), dict)
    }
