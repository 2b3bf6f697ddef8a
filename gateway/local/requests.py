"""The bodies of the requests the engine answers, checked.

Shapes are OpenAI's (https://platform.openai.com/docs/api-reference) with llama.cpp's extra sampling fields
(``top_k``, ``min_p``, ``repeat_penalty``). Fields that change nothing here (``user``, ``metadata``, ``store`` …) are
ignored; a value that cannot be honoured is refused with the name of its field.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from gateway.kernel.errors import GatewayError, Kind

Temperature = Annotated[float, Meta(ge=0, le=2)]
Share = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
Choices = Annotated[int, Meta(ge=1, le=16)]
Tokens = list[Annotated[int, Meta(ge=0)]]
Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


class StreamOptions(Struct):
    include_usage: bool = False


class Common(Struct, kw_only=True):
    """What chat and completion requests share."""

    model: str
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    n: Choices | None = 1
    stop: str | list[str] | None = None
    seed: int | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    min_p: Share | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    logit_bias: dict[str, Bias] | None = None


class Function(Struct):
    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Struct):
    type: Literal["function"]
    function: Function


class FunctionName(Struct):
    name: str


class NamedTool(Struct):
    type: Literal["function"]
    function: FunctionName


class JsonSchema(Struct):
    name: str = "schema"
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class ResponseFormat(Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class Message(Struct, kw_only=True):
    role: Role
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class ChatRequest(Common, kw_only=True):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    logprobs: bool | None = False
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    modalities: list[Literal["text"]] | None = None


class CompletionRequest(Common, kw_only=True):
    """``POST /v1/completions``."""

    prompt: str | list[Any]
    echo: bool | None = False
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    suffix: str | None = None
    best_of: Choices | None = None


class EmbeddingRequest(Struct, kw_only=True):
    """``POST /v1/embeddings``."""

    model: str
    input: str | list[Any]
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: Annotated[int, Meta(ge=1)] | None = None


class TokenizeRequest(Struct, kw_only=True):
    """``POST /tokenize``: ``content`` (or ``prompt``) is plain text, ``messages`` goes through the chat template."""

    model: str
    content: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    tools: list[Tool] | None = None
    add_special: bool = False


Request = TypeVar("Request", ChatRequest, CompletionRequest, EmbeddingRequest, TokenizeRequest)
_PATH = re.compile(r" - at `\$?\.?(.*)`$")
_TYPES = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_BOUNDS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_ENUMS = {
    "role": "system, developer, user, assistant, tool",
    "tool_choice": "none, auto, required, or an object that names a function",
    "encoding_format": "float, base64",
    "response_format.type": "text, json_object, json_schema",
    "modalities": "text",
    "type": "function",
}
"""What may stand where a value is one of a few, by the end of its field's path; the first that fits counts."""


def parse(body: bytes, kind: type[Request]) -> Request:
    """The request in ``body``. Raises ``GatewayError`` (``INVALID``) naming the field and what was expected."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _refusal(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GatewayError(Kind.INVALID, "invalid_json", f"The body is not valid JSON: {error}.") from error


def _refusal(text: str) -> GatewayError:
    """What msgspec says of a value, in the words of a caller who knows JSON alone."""
    found = _PATH.search(text)
    field = found.group(1).replace("[...]", "") if found else ""
    text = _PATH.sub("", text)
    subject = f"'{field}'" if field else "The body"
    if missing := re.search(r"missing required field `(\w+)`", text):
        field = f"{field}.{missing.group(1)}" if field else missing.group(1)
        return invalid(f"'{field}' is required.", field)
    if found := re.fullmatch(r"Expected `([^`]+)`, got `(\w+)`", text):
        wanted = [_TYPES.get(name, name) for name in found.group(1).split(" | ") if name != "null"]
        got = _TYPES.get(found.group(2), found.group(2))
        return invalid(f"{subject} must be {' or '.join(wanted)}, got {got}.", field or None, "invalid_type")
    if found := re.fullmatch(r"Invalid enum value (.*)", text, re.DOTALL):
        return invalid(f"{subject} must be {_allowed(field)}; got {found.group(1)}.", field or None)
    if found := re.fullmatch(r"Expected `(\w+)` (of length )?([<>]=?) (\S+)", text):
        bound = found.group(4).removesuffix(".0")
        size = (" entry" if bound == "1" else " entries") if found.group(2) else ""
        verb = "have" if size else "be"
        return invalid(f"{subject} must {verb} {_BOUNDS[found.group(3)]} {bound}{size}.", field or None)
    if found := re.fullmatch(r"Expected `str` matching regex (.*)", text, re.DOTALL):
        return invalid(f"{subject} must match {found.group(1)}.", field or None)
    return invalid(f"{subject} is not valid: {text}.", field or None)


def _allowed(field: str) -> str:
    path = re.sub(r"\[\d+\]$", "", field)
    for end, names in _ENUMS.items():
        if path == end or path.endswith(f".{end}"):
            return f"one of {names}" if "," in names else names
    return "one of the known values"


def invalid(message: str, field: str | None, code: str = "invalid_value") -> GatewayError:
    """A refusal of one field's value."""
    return GatewayError(Kind.INVALID, code, message, field)


def prompts_of(value: str | list[Any], field: str, limit: int = 2048) -> list[str | list[int]]:
    """One or several prompts, each text or token ids: a string, strings, token ids, or lists of token ids."""
    if isinstance(value, str):
        return [value]
    if value and all(isinstance(item, int) and not isinstance(item, bool) for item in value):
        return [value]
    if not value or len(value) > limit:
        raise invalid(f"Expected 1 to {limit} entries.", field)
    for index, item in enumerate(value):
        is_tokens = isinstance(item, list) and item and all(type(token) is int for token in item)
        if not isinstance(item, str) and not is_tokens:
            raise invalid("Expected a string, or a list of token ids.", f"{field}[{index}]")
    return list(value)


def stops_of(value: str | list[str] | None) -> list[str]:
    """The stop strings. At most four are accepted, as in OpenAI's API."""
    stops = [value] if isinstance(value, str) else list(value or [])
    if len(stops) > 4:
        raise invalid("Expected at most 4 stop sequences.", "stop")
    if any(not stop for stop in stops):
        raise invalid("Expected stop sequences that are not empty.", "stop")
    return stops
