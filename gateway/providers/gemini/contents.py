"""The messages of the internal form as Gemini's ``contents``.

Turns alternate between ``user`` and ``model``: neighbours of one role become one. The answers of parallel calls stand
in one turn, as they were made in one, and in the order of the calls, by which calls of one function are told apart.
Sources: "Generating content", "Function calling" and "Thought signatures" in the
Gemini API documentation.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from gateway.providers import asking
from gateway.providers.base import Json

VENDOR: Final = "gemini"
UNSIGNED: Final = "skip_thought_signature_validator"
"""What the documentation says to send for a call that no Gemini model made, where signatures are checked."""
_AUDIO: Final = {"mp3": "audio/mp3", "wav": "audio/wav", "flac": "audio/flac", "aac": "audio/aac", "ogg": "audio/ogg"}


class Contents:
    """Collects ``contents`` and ``systemInstruction``, and names in ``dropped`` what they can't say."""

    def __init__(self, chat: Json, signed: bool) -> None:
        self.contents: list[Json] = []
        self.system: list[Json] = []
        self.dropped: list[str] = []
        self._signed = signed
        self._names: dict[str, tuple[int, str]] = {}  # of each call, by its id: its place among all, and the function
        self._answers: list[tuple[int, list[Json]]] = []
        for at, role, message in asking.messages_of(chat):
            if role != "tool":
                self._flush()
            if role == "system":
                self.system += [{"text": text} for text in (asking.plain_text(message, at),) if text]
            elif role == "user":
                self._add("user", self._parts(message, at))
            elif role == "assistant":
                self._add("model", self._spoken(message, at))
            else:
                self._answers.append(self._answered(message, at))
        self._flush()
        if not self.contents:
            raise asking.wrong("messages", "at least one message of a user, an assistant or a tool")

    def _add(self, role: str, parts: list[Json]) -> None:
        if not parts:
            return
        if self.contents and self.contents[-1]["role"] == role:
            self.contents[-1]["parts"] += parts
        else:
            self.contents.append({"role": role, "parts": parts})

    def _flush(self) -> None:
        for _, parts in sorted(self._answers, key=lambda answer: answer[0]):
            self._add("user", parts)
        self._answers.clear()

    def _drop(self, kind: str) -> None:
        name = f"messages.content.{kind}"
        if name not in self.dropped:
            self.dropped.append(name)

    def _parts(self, message: Json, at: str) -> list[Json]:
        found = []
        for index, part in enumerate(asking.parts_of(message, at)):
            made = self._part(part, f"{at}.content[{index}]")
            if made is None:
                self._drop(part["type"])
            else:
                found.append(made)
        return found

    def _part(self, part: Json, at: str) -> Json | None:
        kind = part["type"]
        if kind in ("text", "refusal"):
            return {"text": asking.text_of(part, at)}
        if kind in ("image_url", "video_url"):
            return _media(asking.url_of(part, kind, at), "image/jpeg" if kind == "image_url" else "video/mp4", at)
        if kind == "input_audio":
            audio = part.get("input_audio")
            if not isinstance(audio, dict) or not isinstance(audio.get("data"), str):
                raise asking.wrong(f"{at}.input_audio", "an object with data and format")
            form = str(audio.get("format") or "wav")
            return {"inlineData": {"mimeType": _AUDIO.get(form, f"audio/{form}"), "data": audio["data"]}}
        return _file(part, at) if kind == "file" else asking.own_block(part, VENDOR)

    def _spoken(self, message: Json, at: str) -> list[Json]:
        own = message.get("provider_blocks")
        calls = list(asking.calls_of(message, at))
        for id, name, _, _ in calls:
            self._names[id] = (len(self._names), name)
        if isinstance(own, dict) and own.get("vendor") == VENDOR and isinstance(own.get("blocks"), list):
            return list(own["blocks"])
        parts = self._parts(message, at)
        signature = _signature(message)
        if signature is not None:
            parts = parts or [{"text": ""}]
            parts[-1] = {**parts[-1], "thoughtSignature": signature}
        for index, (_, name, arguments, call) in enumerate(calls):
            made: Json = {"functionCall": {"name": name, "args": arguments}}
            signature = _signature(call)
            if signature is None and self._signed and index == 0:
                signature = UNSIGNED
            if signature is not None:
                made["thoughtSignature"] = signature
            parts.append(made)
        return parts

    def _answered(self, message: Json, at: str) -> tuple[int, list[Json]]:
        known = self._names.get(str(message.get("tool_call_id") or ""))
        place, name = known or (len(self._names), message.get("name"))
        if not isinstance(name, str):
            raise asking.wrong(f"{at}.tool_call_id", "the id of a tool call before this message")
        texts, others = [], []
        for part in self._parts(message, at):
            if "text" in part:
                texts.append(part["text"])
            else:
                others.append(part)
        text = "\n".join(texts)
        response = {"error": text} if message.get("is_error") is True else _as_object(text)
        return place, [{"functionResponse": {"name": name, "response": response}}, *others]


def _as_object(text: str) -> Json:
    if text.lstrip()[:1] == "{":
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError:
            return {"result": text}
        if isinstance(found, dict):
            return found
    return {"result": text}


def _signature(holder: Json) -> str | None:
    """``extra_content.google.thought_signature``, as Google's own OpenAI-compatible API tells it."""
    extra: Any = holder.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) and signature else None


def _media(url: str, default: str, at: str) -> Json:
    data = asking.data_of(url, at)
    if data is not None:
        return {"inlineData": {"mimeType": data.media_type, "data": data.base64}}
    return {"fileData": {"mimeType": asking.media_type_of(url, default), "fileUri": url}}


def _file(part: Json, at: str) -> Json:
    file = part.get("file")
    if not isinstance(file, dict):
        raise asking.wrong(f"{at}.file", "an object with file_data, file_url, file_id or text")
    if isinstance(file.get("text"), str):
        return {"text": file["text"]}
    name = str(file.get("filename") or "")
    for key in ("file_data", "file_url", "file_id"):
        value = file.get(key)
        if not isinstance(value, str) or not value:
            continue
        if key == "file_data" and not value.startswith("data:"):
            if not asking.is_base64(value):
                raise asking.wrong(f"{at}.file.file_data", "a data URL")
            media_type = asking.media_type_of(name, "application/pdf")
            return {"inlineData": {"mimeType": media_type, "data": value}}
        made = _media(value, asking.media_type_of(name, "application/pdf") or "", f"{at}.file.{key}")
        if key == "file_id":
            made["fileData"].pop("mimeType", None)
        return made
    raise asking.wrong(f"{at}.file", "an object with file_data, file_url, file_id or text")
