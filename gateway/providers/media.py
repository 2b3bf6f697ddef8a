"""Images and sound: what requests for them say, and how answers tell them, for those that translate them.

Sources: "Images" and "Audio" in OpenAI's API reference.
"""

from __future__ import annotations

import io
import re
import wave
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final

from gateway.kernel.errors import Kind
from gateway.providers import asking
from gateway.providers.base import File, Json, Media, Unsupported, envelope

_SIZE: Final = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
_ANYHOW: Final[dict[str, tuple[Any, ...]]] = {
    "response_format": ("b64_json",),
    "quality": ("auto", "standard"),
    "background": ("auto",),
    "moderation": ("auto",),
    "size": ("auto",),
    "partial_images": (0, "0"),
    "stream": (False, "false"),
    "output_format": ("png",),
}
"""What every image here is anyhow, where a request asks for it."""
TRANSCRIBED: Final[dict[str, tuple[Any, ...]]] = {
    "response_format": ("json", "text"),
    "stream": (False, "false"),
    "chunking_strategy": ("auto",),
    "temperature": ("0",),
}
"""What every transcript is anyhow."""
RATE: Final = 24_000
"""Samples a second of OpenAI's ``pcm``: of 16 bits, one channel."""
_UNQUOTABLE: Final = re.compile(r'[\x00-\x1f"\\\x7f]')
_BYTES: Final = "application/octet-stream"
_TEXT: Final = "text/plain; charset=utf-8"


def unsupported(model: str, what: str, known: str) -> Unsupported:
    """The refusal of an endpoint that a vendor has for other models; ``known`` names these."""
    message = f"The model '{model}' has no {what} that is known here: it is not one of {known}."
    return Unsupported(Kind.INVALID, "unsupported_endpoint", message, "model")


def unknown(chat: Json, known: Iterable[str], anyhow: dict[str, tuple[Any, ...]] = _ANYHOW) -> list[str]:
    """The fields of a request that ask for what neither ``known`` nor any answer here has."""
    wanted = {name: value for name, value in chat.items() if value not in anyhow.get(name, ())}
    found = asking.unknown(wanted, known)
    return [*found, "stream"] if wanted.get("stream") is not None else found


def whole_number(chat: Json, name: str) -> int | None:
    """A number from 1 on, which a form tells as a text; None where it is absent."""
    value = chat.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise asking.wrong(name, "a whole number from 1 on")
    return value


def text(chat: Json, name: str) -> str:
    """A field that must be a text and say something."""
    value = chat.get(name)
    if not isinstance(value, str) or not value:
        raise asking.wrong(name, "a text")
    return value


def size_of(chat: Json) -> tuple[int, int] | None:
    """Width and height of the images that are wanted, in pixels; None where that is left to the model."""
    size = chat.get("size")
    if size in (None, "", "auto"):
        return None
    found = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if found is None:
        raise asking.wrong("size", "auto, or width and height in pixels such as 1024x1024")
    return int(found[1]), int(found[2])


def files_of(chat: Json, name: str) -> list[File]:
    """The files of a form's field, at least one."""
    value = chat.get(name)
    given = value if isinstance(value, list) else [value]
    found = [each for each in given if isinstance(each, File) and each.data]
    if len(found) < max(1, len(given)):
        raise asking.wrong(name, "a file")
    return found


def media_type_of(file: File, default: str) -> str:
    """The media type of a file: what its part of the form tells, else what its name does."""
    told = file.media_type.partition(";")[0].strip().lower()
    if told and told != "application/octet-stream":
        return told
    return asking.media_type_of(file.name, default) or default


def images(created: int, data: Sequence[Json], usage: Json | None = None) -> Json:
    """The answer of OpenAI's images endpoints."""
    made: Json = {"created": created, "data": list(data)}
    if usage is not None:
        made["usage"] = usage
    return made


def blocked(message: str) -> Json:
    """A refusal of what was asked for that the provider told as an answer."""
    return envelope(message, "invalid_request_error", "content_policy_violation")


def transcript(words: str, as_text: bool, usage: Json | None) -> Json | Media:
    """The answer of OpenAI's transcriptions endpoint, as ``json`` or as ``text``."""
    if as_text:
        return Media(_TEXT, words.encode() + b"\n", usage)
    return {"text": words} if usage is None else {"text": words, "usage": usage}


def is_text_wanted(chat: Json) -> bool:
    """Whether a transcript is wanted without JSON around it."""
    return chat.get("response_format") == "text"


def texts(chat: Json, name: str) -> list[str]:
    """A field that is a text or several; none where it is absent."""
    value = chat.get(name)
    found = [value] if isinstance(value, str) else value or []
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise asking.wrong(name, "a text or several")
    return [each for each in found if each]


def samples_of(sound: bytes) -> tuple[bytes, int]:
    """The samples in a WAV file, of 16 bits and little-endian, and how many make a second. Raises
    :class:`ValueError`.
    """
    try:
        with wave.open(io.BytesIO(sound)) as file:
            if (file.getsampwidth(), file.getnchannels()) != (2, 1):
                raise ValueError("expected one channel of 16 bits")
            return file.readframes(file.getnframes()), file.getframerate()
    except (wave.Error, EOFError) as error:
        raise ValueError(f"the sound is no WAV file: {error}") from None


def plain_sound(samples: bytes, rate: int, usage: Json | None) -> Media:
    """OpenAI's ``pcm``; a rate that is not its own is told."""
    return Media("audio/pcm" if rate == RATE else f"audio/pcm;rate={rate}", samples, usage)


def wav_of(samples: bytes, rate: int) -> bytes:
    """A WAV file of samples as in :func:`samples_of`."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples)
    return made.getvalue()


def form(fields: Iterable[tuple[str, str | File]]) -> tuple[str, bytes]:
    """A form (RFC 7578) as its ``Content-Type`` and its bytes; the boundary is made of what it holds."""
    fields = list(fields)
    digest = blake2b(digest_size=16)
    for _, value in fields:
        digest.update(value.data if isinstance(value, File) else value.encode())
    boundary = digest.hexdigest()
    pieces = []
    for name, value in fields:
        pieces.append(f'--{boundary}\r\ncontent-disposition: form-data; name="{_quoted(name)}"'.encode())
        if isinstance(value, File):
            told = _quoted(value.name) or "file"
            pieces.append(f'; filename="{told}"\r\ncontent-type: {media_type_of(value, _BYTES)}'.encode())
        pieces += [b"\r\n\r\n", value.data if isinstance(value, File) else value.encode(), b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(pieces)


def _quoted(name: str) -> str:
    return _UNQUOTABLE.sub("_", name)
