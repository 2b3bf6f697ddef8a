"""Bedrock's errors: ``{"message"}`` with a status of its own ("Common errors" and "Converse", API reference)."""

from __future__ import annotations

from typing import Final

import orjson

from gateway.providers.base import Failure, failure, quoted

_STATUSES: Final = {424: 502}
"""The model failed, and not what it was asked."""
_TYPES: Final = {
    "UnrecognizedClientException": 401,
    "InvalidSignatureException": 401,
    "ExpiredTokenException": 401,
    "IncompleteSignature": 401,
    "MissingAuthenticationToken": 401,
}


def error(status: int, body: bytes) -> Failure:
    """See :meth:`gateway.providers.base.Translator.error`."""
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        return quoted(status, body)
    text = told.get("message", told.get("Message")) if isinstance(told, dict) else None
    if not isinstance(text, str):
        return quoted(status, body)
    word = str(told.get("__type") or "").rpartition("#")[2] or None
    if status == 403 and word is None and ("signature" in text or "security token" in text):
        word = "InvalidSignatureException"
    return failure(_TYPES.get(word or "", _STATUSES.get(status, status)), text, word)
