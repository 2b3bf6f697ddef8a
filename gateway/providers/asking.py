"""Reading a request of the internal form, for those that translate it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from mimetypes import guess_type
from typing import Any, Final, NamedTuple

import orjson

from gateway.kernel.errors import GatewayError, Kind
from gateway.providers.base import Json, Question

HINTS: Final = frozenset(
    (
        "model",
        "stream",
        "stream_options",
        "user",
        "safety_identifier",
        "metadata",
        "store",
        "prompt_cache_key",
        "prompt_cache_retention",
        "provider_options",
    )
)
"""Fields that change nothing in the answer: who knows no use for them may leave them."""
_NEUTRAL: Final[dict[str, tuple[Any, ...]]] = {
    "n": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "parallel_tool_calls": (True,),
    "service_tier": ("auto", "default"),
    "modalities": (["text"],),
    "verbosity": ("medium",),
    "tool_choice": ("auto",),
    "top_logprobs": (0,),
    "size": ("auto",),
}
_DATA_URL: Final = re.compile(r"data:([^;,]*)((?:;[^;,]*)*?)(;base64)?,", re.IGNORECASE)


class Data(NamedTuple):
    """What a data URL holds: a media type, and its bytes as base64."""

    media_type: str
    base64: str


def unknown(chat: Json, known: Iterable[str]) -> list[str]:
    """The fields of a request that ask for something and are not among ``known``."""
    handled = HINTS.union(known)
    return [name for name in chat if name not in handled and asks(chat, name) is not None]


def asks(chat: Json, name: str) -> Any:
    """The value of a field, None where it asks for nothing."""
    value = chat.get(name)
    if value is False and name != "parallel_tool_calls":
        return None
    return None if value in ([], {}) or value in _NEUTRAL.get(name, ()) else value


def own_options(chat: Json, vendor: str, dropped: list[str]) -> Json:
    """``provider_options`` of a vendor; those of others are named in ``dropped``. They can't name another model than
    the one whose use was checked and whose price holds.
    """
    options = chat.get("provider_options") or {}
    if not isinstance(options, dict) or not all(isinstance(each, dict) for each in options.values()):
        raise wrong("provider_options", "an object of objects by vendor")
    dropped += [f"provider_options.{name}" for name in options if name != vendor]
    own: Json = options.get(vendor, {})
    if "model" in own:
        raise wrong(f"provider_options.{vendor}.model", "nothing: 'model' names the model")
    return own


def own_block(part: Json, vendor: str) -> Json | None:
    """The block of a ``provider_block`` part of a vendor's own; None for another's."""
    block = part.get("block")
    return block if part["type"] == "provider_block" and part.get("vendor") == vendor and block else None


def wrong(field: str, expected: str) -> GatewayError:
    """A 400 for a field that is not what it must be."""
    return GatewayError(Kind.INVALID, "invalid_value", f"Invalid value for '{field}': expected {expected}.", field)


def messages_of(chat: Json) -> Iterator[tuple[str, str, Json]]:
    """Each message as its place, its role and itself; ``developer`` is told as ``system``."""
    messages = chat.get("messages")
    if not isinstance(messages, list) or not messages:
        raise wrong("messages", "an array of messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise wrong(f"messages[{index}]", "an object")
        role = message.get("role")
        if role not in ("system", "developer", "user", "assistant", "tool"):
            raise wrong(f"messages[{index}].role", "system, developer, user, assistant or tool")
        yield f"messages[{index}]", "system" if role == "developer" else role, message


def parts_of(message: Json, at: str) -> list[Json]:
    """The parts of a message's content; a text is one part, none is none."""
    content = message.get("content")
    if content is None or content == "":
        return []
    if isinstance(content, str):
        part: Json = {"type": "text", "text": content}
        if message.get("cache_control") is not None:
            part["cache_control"] = message["cache_control"]
        return [part]
    if not isinstance(content, list):
        raise wrong(f"{at}.content", "a text or an array of parts")
    for index, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise wrong(f"{at}.content[{index}]", "an object with a type")
    if content and message.get("cache_control") is not None and content[-1].get("cache_control") is None:
        return [*content[:-1], {**content[-1], "cache_control": message["cache_control"]}]
    return content


def text_of(part: Json, at: str) -> str:
    """The text of a ``text`` part, or of a ``refusal``."""
    text = part.get("text", part.get("refusal"))
    if not isinstance(text, str):
        raise wrong(f"{at}.text", "a text")
    return text


def plain_text(message: Json, at: str) -> str:
    """The content of a message as one text; what is no text makes a 400."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    found = []
    for index, part in enumerate(parts_of(message, at)):
        if part["type"] not in ("text", "refusal"):
            raise wrong(f"{at}.content[{index}].type", "text")
        found.append(text_of(part, f"{at}.content[{index}]"))
    return "\n".join(found)


def calls_of(message: Json, at: str) -> Iterator[tuple[str, str, Any, Json]]:
    """Each tool call of an assistant's message: its id, the function's name, its arguments parsed, and itself."""
    calls = message.get("tool_calls")
    if calls is None:
        return
    if not isinstance(calls, list):
        raise wrong(f"{at}.tool_calls", "an array")
    for index, call in enumerate(calls):
        place = f"{at}.tool_calls[{index}]"
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise wrong(f"{place}.function", "an object with a name")
        yield str(call.get("id") or ""), function["name"], _arguments(function.get("arguments"), place), call


def _arguments(arguments: object, at: str) -> Any:
    if arguments is None or arguments == "":
        return {}
    if isinstance(arguments, dict):
        return arguments
    try:
        parsed = orjson.loads(arguments) if isinstance(arguments, str) else None
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict):
        raise wrong(f"{at}.function.arguments", "a JSON object")
    return parsed


def functions_of(chat: Json) -> Iterator[tuple[str, str, Json, Json]]:
    """Each tool: its place, its type, its function (empty for another type), and itself."""
    tools = chat.get("tools")
    if tools is None:
        return
    if not isinstance(tools, list):
        raise wrong("tools", "an array")
    for index, tool in enumerate(tools):
        at = f"tools[{index}]"
        if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
            raise wrong(at, "an object with a type")
        function = tool.get("function")
        if tool["type"] != "function":
            yield at, tool["type"], {}, tool
        elif not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise wrong(f"{at}.function", "an object with a name")
        else:
            yield at, "function", function, tool


def stops_of(chat: Json) -> list[str]:
    """The stop sequences."""
    stop = chat.get("stop")
    if stop is None:
        return []
    found = [stop] if isinstance(stop, str) else stop
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise wrong("stop", "a text or an array of texts")
    return found


def max_tokens_of(chat: Json) -> int | None:
    """The most completion tokens asked for; the newer spelling goes first."""
    for name in ("max_completion_tokens", "max_tokens"):
        value = chat.get(name)
        if value is not None:
            if not isinstance(value, int) or isinstance(value, bool):
                raise wrong(name, "an integer")
            return value
    return None


def schema_of(chat: Json) -> tuple[str, Json, Json]:
    """What ``response_format`` wants: ``text``, ``json_object`` or ``json_schema``; the schema, and all about it."""
    wanted = chat.get("response_format")
    if wanted is None:
        return "text", {}, {}
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind in ("text", "json_object"):
        return kind, {}, {}
    about = wanted.get("json_schema") if kind == "json_schema" else None
    if not isinstance(about, dict) or not isinstance(about.get("schema", {}), dict):
        raise wrong("response_format", 'an object of type "text", "json_object" or "json_schema" with its json_schema')
    return "json_schema", about.get("schema", {}), about


def choice_of(chat: Json) -> tuple[str, list[str]]:
    """What ``tool_choice`` wants: ``auto``, ``none`` or ``required``, and the only functions that may be called."""
    choice = chat.get("tool_choice")
    if choice is None:
        return "auto", []
    if choice in ("auto", "none", "required"):
        return choice, []
    if isinstance(choice, dict):
        function, allowed = choice.get("function"), choice.get("allowed_tools")
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            return "required", [function["name"]]
        if isinstance(allowed, dict) and isinstance(allowed.get("tools"), list):
            names = [tool["function"]["name"] for tool in allowed["tools"] if tool.get("type") == "function"]
            return ("required" if allowed.get("mode") == "required" else "auto"), names
    raise wrong("tool_choice", "none, auto, required or the function to call")


def texts_of(chat: Json) -> list[str]:
    """The texts to embed; tokens are numbers of one vocabulary, which another model does not share."""
    given = chat.get("input")
    found = [given] if isinstance(given, str) else given
    if not isinstance(found, list) or not found or not all(isinstance(item, str) for item in found):
        raise wrong("input", "a text or an array of texts")
    return found


def documents_of(chat: Json) -> list[str]:
    """The texts to rank; an object is told by its text, or by all its fields."""
    documents = chat.get("documents")
    if not isinstance(documents, list) or not documents:
        raise wrong("documents", "an array of texts or objects")
    return [_document(item, index) for index, item in enumerate(documents)]


def _document(item: object, index: int) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, dict) and isinstance(item.get("text"), str):
        return str(item["text"])
    if isinstance(item, dict) and item:
        return "\n".join(f"{name}: {value}" for name, value in item.items())
    raise wrong(f"documents[{index}]", "a text or an object")


def url_of(part: Json, name: str, at: str) -> str:
    """The URL of a part such as ``image_url``, which is a text or an object with one."""
    value = part.get(name)
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str) or not url:
        raise wrong(f"{at}.{name}", "an object with a url")
    return url


def data_of(url: str, at: str) -> Data | None:
    """What a data URL (RFC 2397) holds; None for another URL."""
    if not url.startswith(("data:", "DATA:")):
        return None
    found = _DATA_URL.match(url)
    if found is None:
        raise wrong(at, "a data URL such as data:image/png;base64,…")
    data = url[found.end() :]
    if not found[3]:
        data = base64.b64encode(data.encode()).decode()
    elif not is_base64(data):
        raise wrong(at, "a data URL whose data is base64")
    return Data(found[1].lower() or "text/plain", data)


def is_base64(text: str) -> bool:
    """Whether a text is base64 with its padding."""
    try:
        binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        return False
    return True


def media_type_of(name: str, default: str | None = None) -> str | None:
    """The media type that a file's name or a URL's path ends in."""
    return guess_type(name.partition("?")[0].partition("#")[0])[0] or default


def answer_id(question: Question, body: bytes, prefix: str = "chatcmpl-") -> str:
    """An id for an answer whose provider gives none: the same for the same request at the same time."""
    digest = blake2b(body, digest_size=12)
    digest.update(repr(question.now).encode())
    return prefix + digest.hexdigest()
