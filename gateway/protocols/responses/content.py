"""The content of messages: parts of the Responses API ⇄ parts of Chat Completions.

Source: OpenAI API reference, "Create a model response" (``input``) and "Create chat completion" (``messages``).
"""

from __future__ import annotations

from typing import Any

from gateway.protocols.base import Json
from gateway.protocols.responses.checks import array, object_of, one_of, refusal, string, text_or_none

_SAID = ("output_text", "refusal", "input_text", "text")
_GIVEN = ("input_text", "input_image", "input_file", "input_audio", "output_text", "text")


def to_chat(content: object, where: str) -> str | list[Json]:
    """What a user, a system message or a tool's output holds. A single text becomes a plain string, which every Chat
    API takes.
    """
    if isinstance(content, str):
        return content
    given = array(content, where)
    parts = [_part(object_of(part, f"{where}[{i}]"), f"{where}[{i}]") for i, part in enumerate(given)]
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        text: str = parts[0]["text"]
        return text
    return parts


def _part(part: Json, where: str) -> Json:
    kind = one_of(part.get("type"), f"{where}.type", _GIVEN)
    if kind == "input_image":
        made = _image(part, where)
    elif kind == "input_file":
        made = _file(part, where)
    elif kind == "input_audio":
        made = {"type": kind, kind: object_of(part.get(kind), f"{where}.{kind}")}
    else:
        made = {"type": "text", "text": string(part.get("text"), f"{where}.text")}
    if part.get("prompt_cache_breakpoint") is not None:
        made["cache_control"] = _cached(part["prompt_cache_breakpoint"], f"{where}.prompt_cache_breakpoint")
    return made


def _cached(breakpoint_: object, where: str) -> Json:
    # A lifetime here is the least that is wanted: the internal form has five minutes and an hour.
    lives = object_of(breakpoint_, where).get("ttl")
    return {"type": "ephemeral"} if lives is None else {"type": "ephemeral", "ttl": "1h"}


def _image(part: Json, where: str) -> Json:
    if part.get("file_id") is not None:
        image: Json = {"file_id": string(part["file_id"], f"{where}.file_id")}
    else:
        image = {"url": string(part.get("image_url"), f"{where}.image_url")}
    detail = text_or_none(part.get("detail"), f"{where}.detail")
    if detail is not None:
        image["detail"] = detail
    return {"type": "image_url", "image_url": image}


def _file(part: Json, where: str) -> Json:
    file: Json = {}
    for name in ("file_id", "file_data", "file_url", "filename"):
        value = text_or_none(part.get(name), f"{where}.{name}")
        if value is not None:
            file[name] = value
    if len(file.keys() - {"filename"}) != 1:
        raise refusal(f"'{where}' must have one of 'file_id', 'file_data' and 'file_url'.", where)
    return {"type": "file", "file": file}


def said_to_chat(content: object, where: str) -> tuple[str | None, str | None]:
    """What an assistant said before: text and refusal. Annotations and logprobs tell a model nothing and stay out."""
    if isinstance(content, str):
        return content, None
    text: list[str] = []
    refused: list[str] = []
    for i, each in enumerate(array(content, where)):
        part = object_of(each, f"{where}[{i}]")
        if one_of(part.get("type"), f"{where}[{i}].type", _SAID) == "refusal":
            refused.append(string(part.get("refusal"), f"{where}[{i}].refusal"))
        else:
            text.append(string(part.get("text"), f"{where}[{i}].text"))
    return ("".join(text) if text else None), ("".join(refused) if refused else None)


def text_part(text: str, annotations: list[Json], logprobs: list[Json]) -> Json:
    """An ``output_text`` part."""
    return {"type": "output_text", "annotations": annotations, "logprobs": logprobs, "text": text}


def refusal_part(text: str) -> Json:
    """A ``refusal`` part."""
    return {"type": "refusal", "refusal": text}


def annotations_from_chat(value: object) -> list[Json]:
    """The annotations of a Chat message or delta. Chat nests what one says below the name of its type; Responses has it
    beside the type. Citations in a vendor's words stay as they are.
    """
    if not isinstance(value, list):
        return []
    return [_annotation(each) for each in value if isinstance(each, dict)]


def _annotation(annotation: Json) -> Json:
    kind = annotation.get("type")
    inner = annotation.get(kind) if isinstance(kind, str) else None
    if kind == "citation" or not isinstance(inner, dict):
        return annotation
    return {"type": kind, **inner}


def logprobs_from_chat(value: object) -> list[Json]:
    """The log probabilities of a Chat choice's content; those of a refusal have no place in a Response."""
    content: Any = value.get("content") if isinstance(value, dict) else None
    return [_logprob(each) for each in content or () if isinstance(each, dict)]


def _logprob(each: Json) -> Json:
    return _likely(each) | {
        "top_logprobs": [_likely(top) for top in each.get("top_logprobs") or () if isinstance(top, dict)]
    }


def _likely(each: Json) -> Json:
    token = each.get("token", "")
    return {"token": token, "bytes": each.get("bytes") or list(token.encode()), "logprob": each.get("logprob", 0.0)}
