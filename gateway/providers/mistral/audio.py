"""Transcripts and speech. Sources: "Audio Transcriptions" and "Audio Speech" in Mistral's API reference."""

from __future__ import annotations

import base64
from typing import Any, Final

import orjson

from gateway.providers import asking, media, telling
from gateway.providers.base import Call, File, Json, Media, Question
from gateway.providers.mistral.request import VENDOR

ENDPOINTS: Final = frozenset(("audio.transcriptions", "audio.speech"))

_HEARD: Final = frozenset(("file", "language", "temperature", "keywords", "timestamp_granularities"))
_HEARD_ANYHOW: Final = {**media.TRANSCRIBED, "response_format": ("json", "text", "verbose_json")}
_SPOKEN: Final = frozenset(("input", "voice", "response_format"))
_SPOKEN_ANYHOW: Final[dict[str, tuple[Any, ...]]] = {"speed": (1,), "stream_format": ("audio",), "stream": (False,)}
_FORMATS: Final = {
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "opus": "audio/opus",
    "pcm": "audio/pcm",
}


def request(question: Question, headers: tuple[tuple[str, str], ...]) -> Call:
    """The call that listens, or speaks."""
    return _listen(question, headers) if question.endpoint == "audio.transcriptions" else _speak(question, headers)


def _listen(question: Question, headers: tuple[tuple[str, str], ...]) -> Call:
    chat = question.chat
    dropped = media.unknown(chat, _HEARD, _HEARD_ANYHOW)
    files = media.files_of(chat, "file")
    if len(files) > 1:
        raise asking.wrong("file", "one recording")
    fields: list[tuple[str, str | File]] = [("model", question.upstream.model)]
    for name in ("language", "temperature"):
        if chat.get(name) is not None:
            fields.append((name, media.text(chat, name)))
    # Each hint is one word there: a phrase is told with its words joined.
    fields += [("context_bias", "_".join(word.split())) for word in media.texts(chat, "keywords")]
    verbose = chat.get("response_format") == "verbose_json"
    marks = media.texts(chat, "timestamp_granularities")
    if marks and (not verbose or set(marks) != {"segment"}):
        dropped.append("timestamp_granularities")
    if verbose:
        fields.append(("timestamp_granularities", "segment"))
    for name, value in asking.own_options(chat, VENDOR, dropped).items():
        fields.append((name, value if isinstance(value, str) else orjson.dumps(value).decode()))
    content_type, body = media.form([*fields, ("file", files[0])])
    as_text = media.is_text_wanted(chat)
    return Call(
        "/audio/transcriptions",
        headers,
        body,
        tuple(dropped),
        lambda data: _heard(telling.document(data), as_text=as_text, verbose=verbose),
        content_type,
    )


def _heard(told: Json, *, as_text: bool, verbose: bool) -> Json | Media:
    usage = told.get("usage")
    counted = None if usage is None else _usage(usage)
    words = told["text"]
    if not isinstance(words, str):
        raise ValueError("expected a text")
    if not verbose:
        return media.transcript(words, as_text, counted)
    segments = [
        {"id": place, "start": each["start"], "end": each["end"], "text": each["text"]}
        for place, each in enumerate(told.get("segments") or [])
    ]
    made: Json = {"task": "transcribe", "language": told.get("language") or "", "text": words, "segments": segments}
    seconds = (usage or {}).get("prompt_audio_seconds")
    made["duration"] = seconds if seconds is not None else max([each["end"] for each in segments], default=0)
    return made if counted is None else {**made, "usage": counted}


def _usage(told: Json) -> Json:
    made: Json = {
        "type": "tokens",
        "input_tokens": telling.count(told, "prompt_tokens"),
        "output_tokens": telling.count(told, "completion_tokens"),
        "total_tokens": telling.count(told, "total_tokens"),
    }
    if told.get("prompt_audio_seconds") is not None:
        made["prompt_audio_seconds"] = told["prompt_audio_seconds"]
    return made


def _speak(question: Question, headers: tuple[tuple[str, str], ...]) -> Call:
    """Its own ``pcm`` are floating-point numbers: OpenAI's is taken out of a WAV file."""
    chat = question.chat
    dropped = media.unknown(chat, _SPOKEN, _SPOKEN_ANYHOW)
    wanted = chat.get("response_format") or "mp3"
    if wanted not in _FORMATS:
        dropped.append("response_format")
        wanted = "mp3"
    body: Json = {
        "model": question.upstream.model,
        "input": media.text(chat, "input"),
        "voice_id": media.text(chat, "voice"),
        "response_format": "wav" if wanted == "pcm" else wanted,
    }
    body.update(asking.own_options(chat, VENDOR, dropped))
    return Call("/audio/speech", headers, orjson.dumps(body), tuple(dropped), lambda data: _said(data, wanted))


def _said(data: bytes, form: str) -> Media:
    told = telling.document(data)
    sound = base64.b64decode(told["audio_data"])
    usage = told.get("usage")
    if form == "pcm":
        samples, rate = media.samples_of(sound)
        return media.plain_sound(samples, rate, usage)
    return Media(_FORMATS[form], sound, usage)
