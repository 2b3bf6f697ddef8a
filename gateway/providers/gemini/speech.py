"""Speech by ``generateContent`` with sound as its modality.

Source: "Speech generation" in the Gemini API documentation. Models before Gemini 3.8 take a style as a part of the
text and tell plain samples; those since have a field for it and may tell a WAV file.
"""

from __future__ import annotations

import base64
import re
from typing import Any, Final
from urllib.parse import quote

import orjson

from gateway.providers import asking, media, telling
from gateway.providers.base import Call, Json, Media, Question
from gateway.providers.gemini.contents import VENDOR
from gateway.providers.gemini.images import nothing_made
from gateway.providers.gemini.response import parts_of, usage_from

ENDPOINT: Final = "audio.speech"
_KNOWN: Final = frozenset(("input", "voice", "instructions"))
_ANYHOW: Final[dict[str, tuple[Any, ...]]] = {
    "response_format": ("wav", "pcm"),
    "speed": (1,),
    "stream_format": ("audio",),
    "stream": (False,),
}
_OLD: Final = re.compile(r"gemini-(2|3-|3\.[0-7])")
_RATE: Final = re.compile(r"rate=(\d{4,6})")


def request(question: Question, headers: tuple[tuple[str, str], ...]) -> Call:
    """The call that speaks. ``wav`` is the format where none is asked for."""
    chat, model = question.chat, question.upstream.model
    dropped = media.unknown(chat, _KNOWN, _ANYHOW)
    words, voice, style = media.text(chat, "input"), media.text(chat, "voice"), chat.get("instructions")
    if style is not None and not isinstance(style, str):
        raise asking.wrong("instructions", "a text")
    part: Json = {"text": words}
    if _OLD.search(model):
        told: Json = {"prebuiltVoiceConfig": {"voiceName": voice}}
        if style:
            part["text"] = f"{style}:\n{words}"
    else:
        told = {"voice": voice}
        if style:
            part["speechMetadata"] = {"style": style}
    config: Json = {"responseModalities": ["AUDIO"], "speechConfig": {"voiceConfig": told}}
    own = asking.own_options(chat, VENDOR, dropped)
    config.update(own.get("generationConfig") or {})
    body = {"contents": [{"role": "user", "parts": [part]}], "generationConfig": config}
    body.update({name: value for name, value in own.items() if name not in body})
    is_plain = chat.get("response_format") == "pcm"
    path = f"/models/{quote(model, safe='-._~')}:generateContent"
    return Call(path, headers, orjson.dumps(body), tuple(dropped), lambda data: response(data, is_plain))


def response(data: bytes, is_plain: bool) -> Json | Media:
    """The sound: a WAV file, or its samples alone. Raises :class:`ValueError`."""
    told = telling.document(data)
    parts = [part for candidate in told.get("candidates") or () for part in parts_of(candidate)]
    sounds = [part["inlineData"] for part in parts if "inlineData" in part]
    if not sounds:
        return nothing_made(told, "The provider said nothing of this input")
    usage = told.get("usageMetadata")
    counted = None if usage is None else _usage(usage_from(usage))
    kind = str(sounds[0].get("mimeType") or "")
    sound = b"".join(base64.b64decode(each["data"]) for each in sounds)
    if not sound.startswith(b"RIFF"):
        found = _RATE.search(kind)
        rate = int(found[1]) if found else media.RATE
        if is_plain:
            return media.plain_sound(sound, rate, counted)
        return Media("audio/wav", media.wav_of(sound, rate), counted)
    return media.plain_sound(*media.samples_of(sound), counted) if is_plain else Media("audio/wav", sound, counted)


def _usage(told: Json) -> Json:
    return {
        "input_tokens": told["prompt_tokens"],
        "output_tokens": told["completion_tokens"],
        "total_tokens": told["total_tokens"],
    }
