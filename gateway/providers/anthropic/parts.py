"""Content: Chat's parts as Anthropic's blocks."""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Any, Final

from gateway.kernel.errors import GatewayError, Kind
from gateway.providers.base import Json

_DATA_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w.+-]+=[^;,]*)*)(;base64)?,", re.ASCII)
_KEPT: Final = ("cache_control",)


def blocks_of(content: Any, field: str, dropped: dict[str, None]) -> list[Json]:
    """The blocks of a message's content. Empty texts, which the API refuses, are left out.

    Raises :class:`~gateway.kernel.errors.GatewayError` naming ``field`` for content that is none.
    """
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise _invalid(field, "Expected a text or an array of parts.")
    blocks = []
    for place, part in enumerate(content):
        if not isinstance(part, dict):
            raise _invalid(f"{field}[{place}]", "Expected a part object.")
        block = _block(part, f"{field}[{place}]", dropped)
        if block is not None:
            for name in _KEPT:
                if part.get(name):
                    block[name] = part[name]
            blocks.append(block)
    return blocks


def _block(part: Json, field: str, dropped: dict[str, None]) -> Json | None:
    kind = part.get("type")
    if kind == "text" or kind == "refusal":
        text = part.get(kind)
        return {"type": "text", "text": text} if text else None
    if kind == "image_url":
        return _image(part.get("image_url"), field)
    if kind == "file":
        return _document(part.get("file"), field, dropped)
    if kind == "search_result":
        return {name: value for name, value in part.items() if name not in _KEPT}
    if kind == "provider_block" and part.get("vendor") == "anthropic":
        return dict(part["block"])
    dropped[f"messages.content.{kind}"] = None
    return None


def _image(image: Any, field: str) -> Json:
    url = image.get("url") if isinstance(image, dict) else image
    if isinstance(image, dict) and image.get("file_id"):
        return {"type": "image", "source": {"type": "file", "file_id": image["file_id"]}}
    if not isinstance(url, str) or not url:
        raise _invalid(f"{field}.image_url", "Expected an object with a 'url'.")
    if not url.startswith("data:"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    kind, data = _data_of(url, f"{field}.image_url.url")
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}


def _document(file: Any, field: str, dropped: dict[str, None]) -> Json | None:
    if not isinstance(file, dict):
        raise _invalid(f"{field}.file", "Expected an object with 'file_data', 'file_id', 'file_url' or 'text'.")
    source: Json
    if file.get("file_id"):
        source = {"type": "file", "file_id": file["file_id"]}
    elif file.get("file_url"):
        source = {"type": "url", "url": file["file_url"]}
    elif isinstance(file.get("text"), str):
        source = {"type": "text", "media_type": "text/plain", "data": file["text"]}
    else:
        kind, data = _data_of(file.get("file_data"), f"{field}.file.file_data")
        if kind == "application/pdf":
            source = {"type": "base64", "media_type": kind, "data": data}
        elif kind.startswith("text/"):
            source = {"type": "text", "media_type": "text/plain", "data": _text_of(data, f"{field}.file.file_data")}
        else:
            dropped["messages.content.file.file_data"] = None
            return None
    block: Json = {"type": "document", "source": source}
    for name, own in (("filename", "title"), ("context", "context"), ("citations", "citations")):
        if file.get(name):
            block[own] = file[name]
    return block


def _data_of(url: Any, field: str) -> tuple[str, str]:
    """Media type and base64 of a data URL (RFC 2397)."""
    found = _DATA_URL.match(url[:200]) if isinstance(url, str) else None
    if found is None or not found[1] or not found[3]:
        raise _invalid(field, "Expected a data URL with base64: data:TYPE;base64,DATA.")
    return found[1].lower(), url[found.end() :]


def _text_of(data: str, field: str) -> str:
    try:
        return b64decode(data, validate=True).decode()
    except ValueError:
        raise _invalid(field, "Expected a text in UTF-8, as base64.") from None


def _invalid(field: str, message: str) -> GatewayError:
    return GatewayError(Kind.INVALID, "invalid_request", f"{field}: {message}", field)
