"""Images, documents, sounds and films as blocks of Converse ("ContentBlock" in the Bedrock API reference)."""

from __future__ import annotations

import re
from typing import Any, Final

from gateway.providers import asking
from gateway.providers.base import Json

VENDOR: Final = "bedrock"
_IMAGES: Final = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
_DOCUMENTS: Final = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_VIDEOS: Final = {
    "video/x-matroska": "mkv",
    "video/quicktime": "mov",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/mpeg": "mpeg",
    "video/x-ms-wmv": "wmv",
    "video/3gpp": "three_gp",
}
_UNNAMED: Final = re.compile(r"[^A-Za-z0-9 \-()\[\]]+")
_SPACES: Final = re.compile(r" {2,}")


def block_of(part: Json, at: str) -> Json | None:
    """The block of a part that is no text; None where Converse has none for it, such as a URL of another's server."""
    kind = part["type"]
    if kind == "image_url":
        return _from_url(part, kind, at, "image", _IMAGES, "image/jpeg")
    if kind == "video_url":
        return _from_url(part, kind, at, "video", _VIDEOS, "video/mp4")
    if kind == "input_audio":
        audio = part.get("input_audio")
        if not isinstance(audio, dict) or not isinstance(audio.get("data"), str):
            raise asking.wrong(f"{at}.input_audio", "an object with data and format")
        return {"audio": {"format": str(audio.get("format") or "wav"), "source": {"bytes": audio["data"]}}}
    if kind == "file":
        return _document(part.get("file"), at)
    if kind == "search_result":
        return {
            "searchResult": {name: part[name] for name in ("source", "title", "content", "citations") if name in part}
        }
    return asking.own_block(part, VENDOR)


def _from_url(part: Json, kind: str, at: str, name: str, formats: dict[str, str], default: str) -> Json | None:
    url = asking.url_of(part, kind, at)
    data = asking.data_of(url, at)
    media_type = data.media_type if data is not None else asking.media_type_of(url, default)
    form = formats.get(str(media_type))
    if form is None:
        raise asking.wrong(f"{at}.{kind}", f"one of {', '.join(dict.fromkeys(formats.values()))}")
    source = _source(url, data)
    return None if source is None else {name: {"format": form, "source": source}}


def _source(url: str, data: asking.Data | None) -> Json | None:
    if data is not None:
        return {"bytes": data.base64}
    return {"s3Location": {"uri": url}} if url.startswith("s3://") else None


def _document(file: Any, at: str) -> Json | None:
    if not isinstance(file, dict):
        raise asking.wrong(f"{at}.file", "an object with file_data, file_url or text")
    filename = str(file.get("filename") or "")
    made: Json = {"name": _name(filename)}
    if isinstance(file.get("text"), str):
        made |= {"format": "txt", "source": {"text": file["text"]}}
    else:
        url = file.get("file_data") or file.get("file_url")
        if not isinstance(url, str):
            return None
        data = asking.data_of(url, f"{at}.file")
        if data is None and not url.startswith("s3://"):
            if "file_data" not in file or not asking.is_base64(url):
                return None
            data = asking.Data(asking.media_type_of(filename, "application/pdf") or "", url)
        media_type = data.media_type if data is not None else asking.media_type_of(url, "application/pdf")
        form = _DOCUMENTS.get(str(media_type))
        if form is None:
            raise asking.wrong(f"{at}.file", f"one of {', '.join(_DOCUMENTS.values())}")
        made |= {"format": form, "source": _source(url, data)}
    for name in ("context", "citations"):
        if file.get(name) is not None:
            made[name] = file[name]
    return {"document": made}


def _name(filename: str) -> str:
    """A name as Converse takes it: letters, digits, single spaces, hyphens, parentheses and brackets."""
    stem = filename.rpartition(".")[0] or filename
    return _SPACES.sub(" ", _UNNAMED.sub(" ", stem)).strip()[:200] or "document"
