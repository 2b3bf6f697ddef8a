"""Images: Imagen by ``predict``, Gemini's own image models by ``generateContent``, which edit images too.

Sources: "Image generation" in the Gemini API documentation, "Imagen API" in the Vertex AI reference. A size is one of
those that a model has: any other can't be asked for.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import orjson

from gateway.providers import asking, media, telling
from gateway.providers.base import Call, Json, Question, envelope
from gateway.providers.gemini.contents import VENDOR
from gateway.providers.gemini.request import is_old
from gateway.providers.gemini.response import FINISH, block_reason, parts_of, usage_from

ENDPOINTS: Final = frozenset(("images.generations", "images.edits"))

_GEMINI_2: Final = {
    (1024, 1024): "1:1",
    (832, 1248): "2:3",
    (1248, 832): "3:2",
    (864, 1184): "3:4",
    (1184, 864): "4:3",
    (896, 1152): "4:5",
    (1152, 896): "5:4",
    (768, 1344): "9:16",
    (1344, 768): "16:9",
    (1536, 672): "21:9",
}
_GEMINI_3: Final = {
    (1024, 1024): "1:1",
    (848, 1264): "2:3",
    (1264, 848): "3:2",
    (896, 1200): "3:4",
    (1200, 896): "4:3",
    (928, 1152): "4:5",
    (1152, 928): "5:4",
    (768, 1376): "9:16",
    (1376, 768): "16:9",
    (1584, 672): "21:9",
}
_IMAGEN: Final = {
    (1024, 1024): "1:1",
    (896, 1280): "3:4",
    (1280, 896): "4:3",
    (768, 1408): "9:16",
    (1408, 768): "16:9",
}
_MADE: Final = frozenset(("prompt", "n", "size"))
_IMAGEN_TAKES: Final = _MADE | {"output_format", "output_compression", "seed", "negative_prompt"}
_FORMATS: Final = ("png", "jpeg")
_REFUSED: Final = "The provider made no image of this prompt"


def request(question: Question, headers: tuple[tuple[str, str], ...]) -> Call:
    """The call that makes the images."""
    model = question.upstream.model
    is_imagen = model.rpartition("/")[2].startswith("imagen")
    if is_imagen and question.endpoint != "images.generations":
        raise media.unsupported(model, "edits of images", "Gemini's image models")
    body, dropped = _predicted(question.chat) if is_imagen else _generated(question)
    for name, value in asking.own_options(question.chat, VENDOR, dropped).items():
        both = isinstance(value, dict) and isinstance(body.get(name), dict)
        body[name] = {**body[name], **value} if both else value
    created = int(question.now)
    read: Callable[[Json, int], Json] = _predictions if is_imagen else _candidates
    path = f"/models/{quote(model, safe='-._~')}:{'predict' if is_imagen else 'generateContent'}"
    return Call(path, headers, orjson.dumps(body), tuple(dropped), lambda data: read(telling.document(data), created))


def _size(chat: Json, sizes: dict[tuple[int, int], str], most: int, dropped: list[str]) -> tuple[str, int] | None:
    """The ratio of the sides, and how many times the usual resolution; None where the size is left to the model."""
    wanted = media.size_of(chat)
    if wanted is None:
        return None
    width, height = wanted
    for times in (1, 2, 4):
        ratio = sizes.get((width // times, height // times))
        if ratio is not None and times <= most and not width % times and not height % times:
            return ratio, times
    dropped.append("size")
    return None


def _predicted(chat: Json) -> tuple[Json, list[str]]:
    dropped = media.unknown(chat, _IMAGEN_TAKES)
    parameters: Json = {"sampleCount": media.whole_number(chat, "n") or 1, "includeRaiReason": True}
    size = _size(chat, _IMAGEN, 2, dropped)
    if size is not None:
        parameters["aspectRatio"] = size[0]
        if size[1] > 1:
            parameters["sampleImageSize"] = f"{size[1]}K"
    form = chat.get("output_format")
    if form in _FORMATS:
        parameters["outputOptions"] = {"mimeType": f"image/{form}"}
        if form == "jpeg" and chat.get("output_compression") is not None:
            parameters["outputOptions"]["compressionQuality"] = chat["output_compression"]
    elif form is not None:
        dropped.append("output_format")
    for name, theirs in (("seed", "seed"), ("negative_prompt", "negativePrompt")):
        if chat.get(name) is not None:
            parameters[theirs] = chat[name]
    return {"instances": [{"prompt": media.text(chat, "prompt")}], "parameters": parameters}, dropped


def _generated(question: Question) -> tuple[Json, list[str]]:
    chat = question.chat
    is_edit = question.endpoint == "images.edits"
    dropped = media.unknown(chat, _MADE | {"image"} if is_edit else _MADE)
    if (media.whole_number(chat, "n") or 1) > 1:
        dropped.append("n")
    parts: list[Json] = []
    for file in media.files_of(chat, "image") if is_edit else ():
        kind = media.media_type_of(file, "image/png")
        parts.append({"inlineData": {"mimeType": kind, "data": base64.b64encode(file.data).decode()}})
    parts.append({"text": media.text(chat, "prompt")})
    config: Json = {"responseModalities": ["IMAGE"]}
    old = is_old(question.upstream.model)
    size = _size(chat, _GEMINI_2 if old else _GEMINI_3, 1 if old else 4, dropped)
    if size is not None:
        config["imageConfig"] = {"aspectRatio": size[0]}
        if size[1] > 1:
            config["imageConfig"]["imageSize"] = f"{size[1]}K"
    return {"contents": [{"role": "user", "parts": parts}], "generationConfig": config}, dropped


def _predictions(told: Json, created: int) -> Json:
    found = told.get("predictions") or []
    data: list[Json] = []
    for one in found:
        if one.get("bytesBase64Encoded"):
            image: Json = {"b64_json": one["bytesBase64Encoded"]}
            if one.get("prompt"):
                image["revised_prompt"] = one["prompt"]
            data.append(image)
    if data:
        return media.images(created, data)
    why = "; ".join(str(one["raiFilteredReason"]) for one in found if one.get("raiFilteredReason"))
    return media.blocked(f"{_REFUSED}: {why or 'all were filtered'}")


def _candidates(told: Json, created: int) -> Json:
    """Images that were made on the way, as thoughts, are none of the answer."""
    candidates = told.get("candidates") or []
    parts = [part for candidate in candidates for part in parts_of(candidate) if part.get("thought") is not True]
    data = [{"b64_json": part["inlineData"]["data"]} for part in parts if "inlineData" in part]
    if data:
        usage = told.get("usageMetadata")
        return media.images(created, data, None if usage is None else _usage(usage_from(usage)))
    return nothing_made(told, _REFUSED, "".join(part.get("text") or "" for part in parts))


def nothing_made(told: Json, message: str, said: str = "") -> Json:
    """The error for an answer without what was asked for. Raises :class:`ValueError` for what is no answer."""
    reasons = [each.get("finishReason") for each in told.get("candidates") or ()]
    reason: Any = block_reason(told) or next((each for each in reasons if each), None)
    if reason is None and not said:
        raise ValueError("expected candidates")
    why = ": ".join(str(each) for each in (message, reason, said[:300]) if each) + "."
    if block_reason(told) or FINISH.get(reason) == "content_filter":
        return media.blocked(why)
    return envelope(why, "invalid_request_error", "nothing_made")


def _usage(told: Json) -> Json:
    asked, given = told["prompt_tokens_details"], told["completion_tokens_details"]
    seen = asked.get("image_tokens", 0)
    made = given.get("image_tokens", told["completion_tokens"] - given["reasoning_tokens"])
    return {
        "input_tokens": told["prompt_tokens"],
        "output_tokens": told["completion_tokens"],
        "total_tokens": told["total_tokens"],
        "input_tokens_details": {
            "text_tokens": told["prompt_tokens"] - seen,
            "image_tokens": seen,
            "cached_tokens": asked["cached_tokens"],
        },
        "output_tokens_details": {
            "image_tokens": made,
            "text_tokens": told["completion_tokens"] - made,
            "reasoning_tokens": given["reasoning_tokens"],
        },
    }
