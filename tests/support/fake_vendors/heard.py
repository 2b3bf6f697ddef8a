"""What a request says, whatever API it came in: fakes answer by it, and tests hold it against what was asked.

Each vendor's module has a ``heard`` that reads its own API.
"""

from __future__ import annotations

from typing import Any, NamedTuple

Json = dict[str, Any]


class Heard(NamedTuple):
    """``texts`` are the user's, ``results`` those of tools that were called; ``images`` are URLs, those of data among
    them. ``choice`` is ``auto``, ``none``, ``required`` or the one function; ``single`` says that there is to be one
    call at a time, ``thinks`` that thoughts are wanted. ``signatures`` are those of earlier thoughts, ``limit`` is in
    tokens.
    """

    system: str = ""
    texts: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    choice: str = "auto"
    single: bool = False
    schema: Json | None = None
    thinks: bool = False
    signatures: tuple[str, ...] = ()
    limit: int | None = None
    temperature: float | None = None


def data_url(media_type: str, data: str) -> str:
    """An image's bytes, which are base64 already."""
    return f"data:{media_type};base64,{data}"


def parts_of(content: Any) -> list[Json]:
    """The parts of a content that may be a text."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return list(content or ())
