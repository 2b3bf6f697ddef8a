"""Transcripts and translations of sound by ``generateContent``: models made for it are configured, others are told in
words.

Sources: "Audio transcription" and "Audio understanding" in the Gemini API documentation.
"""

from __future__ import annotations

import base64
from typing import Final
from urllib.parse import quote

import orjson

from gateway.providers import asking, media, telling
from gateway.providers.base import Call, Json, Media, Question
from gateway.providers.gemini.contents import VENDOR
from gateway.providers.gemini.images import nothing_made
from gateway.providers.gemini.response import parts_of, usage_from

ENDPOINTS: Final = frozenset(("audio.transcriptions", "audio.translations"))
_CONFIGURED: Final = frozenset(("file", "language", "languages", "keywords"))
_TOLD: Final = _CONFIGURED | {"prompt", "temperature"}
_WRITE: Final = (
    "Write down word for word what is said in this recording, in the language that is spoken."
    " Answer with these words alone; with nothing where nothing is said."
)
_TRANSLATE: Final = (
    "Translate what is said in this recording into English."
    " Answer with the translation alone; with nothing where nothing is said."
)


def request(question: Question, headers: tuple[tuple[str, str], ...]) -> Call:
    """The call that listens."""
    chat, model = question.chat, question.upstream.model
    configured = "transcribe" in model
    if configured and question.endpoint == "audio.translations":
        raise media.unsupported(model, "translations of sound", "Gemini's models for text")
    dropped = media.unknown(chat, _CONFIGURED if configured else _TOLD, media.TRANSCRIBED)
    parts = [_sound(chat)]
    config: Json = {}
    if configured:
        wanted = {"languageCodes": _languages(chat), "customVocabulary": media.texts(chat, "keywords")}
        told = {name: value for name, value in wanted.items() if value}
        config = {"audioTranscriptionConfig": told} if told else {}
    else:
        parts.append({"text": _words(chat, is_translation=question.endpoint == "audio.translations")})
        if chat.get("temperature") is not None:
            config["temperature"] = _number(chat, "temperature")
    own = asking.own_options(chat, VENDOR, dropped)
    config.update(own.get("generationConfig") or {})
    body: Json = {"contents": [{"role": "user", "parts": parts}]}
    if config:
        body["generationConfig"] = config
    as_text = media.is_text_wanted(chat)
    path = f"/models/{quote(model, safe='-._~')}:generateContent"
    return Call(path, headers, orjson.dumps(body), tuple(dropped), lambda data: response(data, as_text))


def _sound(chat: Json) -> Json:
    files = media.files_of(chat, "file")
    kind = media.media_type_of(files[0], "").replace("audio/x-", "audio/")
    if len(files) > 1 or not kind.startswith(("audio/", "video/")):
        raise asking.wrong("file", "one recording whose media type its part of the form or its name tells")
    return {"inlineData": {"mimeType": kind, "data": base64.b64encode(files[0].data).decode()}}


def _words(chat: Json, *, is_translation: bool) -> str:
    told = [_TRANSLATE if is_translation else _WRITE]
    languages, keywords = _languages(chat), media.texts(chat, "keywords")
    if languages:
        told.append(f"Languages that are spoken (ISO 639-1): {', '.join(languages)}.")
    if keywords:
        told.append(f"Words that may occur: {', '.join(keywords)}.")
    if chat.get("prompt"):
        told.append(f"What came before, or is to be known for it: {media.text(chat, 'prompt')}")
    return "\n".join(told)


def _languages(chat: Json) -> list[str]:
    return [*media.texts(chat, "language"), *media.texts(chat, "languages")]


def _number(chat: Json, name: str) -> float:
    try:
        value = float(chat[name])
    except (TypeError, ValueError):
        value = -1.0
    if not 0 <= value <= 2:
        raise asking.wrong(name, "a number from 0 to 2")
    return value


def response(data: bytes, as_text: bool) -> Json | Media:
    """The words. Raises :class:`ValueError`."""
    told = telling.document(data)
    candidates = told.get("candidates") or []
    parts = [part for candidate in candidates for part in parts_of(candidate) if part.get("thought") is not True]
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    ended = [each.get("finishReason") for each in candidates] == ["STOP"]
    if not texts and not ended:
        return nothing_made(told, "The provider wrote nothing down")
    usage = told.get("usageMetadata")
    counted = None if usage is None else _usage(usage_from(usage))
    return media.transcript("".join(texts).strip(), as_text, counted)


def _usage(told: Json) -> Json:
    heard = told["prompt_tokens_details"].get("audio_tokens", 0)
    return {
        "type": "tokens",
        "input_tokens": told["prompt_tokens"],
        "output_tokens": told["completion_tokens"],
        "total_tokens": told["total_tokens"],
        "input_token_details": {"audio_tokens": heard, "text_tokens": told["prompt_tokens"] - heard},
    }
