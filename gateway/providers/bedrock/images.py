"""Images of Nova Canvas, Titan Image Generator and Stability AI by ``InvokeModel``.

Sources: "Generating images with Amazon Nova Canvas" in the Amazon Nova user guide, "Amazon Titan Image Generator" and
"Stability AI models" in the Amazon Bedrock user guide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gateway.providers import asking, telling
from gateway.providers.base import Json, Question
from gateway.providers.bedrock.media import VENDOR
from gateway.providers.media import blocked, images, size_of, text, unknown, unsupported, whole_number

_AMAZON: Final = frozenset(("prompt", "n", "size", "quality", "seed", "negative_prompt"))
_STABILITY: Final = frozenset(("prompt", "n", "seed", "negative_prompt", "output_format"))
_QUALITIES: Final = {"standard": "standard", "medium": "standard", "hd": "premium", "high": "premium"}
_FORMATS: Final = ("png", "jpeg")
_REFUSED: Final = "The provider made no image of this prompt"


def request(question: Question) -> tuple[Json, list[str], Callable[[bytes, int | None], Json]]:
    """The body, what it can't express, and what reads the answer."""
    chat, model = question.chat, question.upstream.model
    if "nova-canvas" in model or "titan-image" in model:
        body, dropped = _amazon(chat)
    elif "stability." in model:
        body, dropped = _stability(chat)
    else:
        raise unsupported(model, "images", "amazon.nova-canvas, amazon.titan-image-generator, stability")
    for name, value in asking.own_options(chat, VENDOR, dropped).items():
        both = isinstance(value, dict) and isinstance(body.get(name), dict)
        body[name] = {**body[name], **value} if both else value
    created = int(question.now)

    def read(data: bytes, _: int | None) -> Json:
        return _answer(data, created)

    return body, dropped, read


def _amazon(chat: Json) -> tuple[Json, list[str]]:
    dropped = unknown(chat, _AMAZON)
    asked: Json = {"text": text(chat, "prompt")}
    if chat.get("negative_prompt") is not None:
        asked["negativeText"] = chat["negative_prompt"]
    config: Json = {"numberOfImages": whole_number(chat, "n") or 1}
    size = size_of(chat)
    if size is not None:
        config["width"], config["height"] = size
    quality = chat.get("quality")
    if quality in _QUALITIES:
        config["quality"] = _QUALITIES[quality]
    elif quality not in (None, "auto"):
        dropped.append("quality")
    if chat.get("seed") is not None:
        config["seed"] = chat["seed"]
    return {"taskType": "TEXT_IMAGE", "textToImageParams": asked, "imageGenerationConfig": config}, dropped


def _stability(chat: Json) -> tuple[Json, list[str]]:
    dropped = unknown(chat, _STABILITY)
    body: Json = {"prompt": text(chat, "prompt")}
    if (whole_number(chat, "n") or 1) > 1:
        dropped.append("n")
    if chat.get("output_format") in _FORMATS:
        body["output_format"] = chat["output_format"]
    elif chat.get("output_format") is not None:
        dropped.append("output_format")
    for name in ("seed", "negative_prompt"):
        if chat.get(name) is not None:
            body[name] = chat[name]
    return body, dropped


def _answer(data: bytes, created: int) -> Json:
    told = telling.document(data)
    made: list[Any] = told.get("images") or []
    reasons = [reason for reason in told.get("finish_reasons") or () if reason]
    if made and not reasons:
        return images(created, [{"b64_json": image} for image in made])
    why = told.get("error") or ", ".join(map(str, reasons))
    if not why:
        raise ValueError("expected images")
    return blocked(f"{_REFUSED}: {why}")
