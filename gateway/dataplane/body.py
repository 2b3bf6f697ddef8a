"""Reading what the gateway needs from a JSON body, and nothing else.

The document is decoded one level deep: each top-level value stays the client's own bytes, so unknown fields, number
spellings and nested content go upstream exactly as they came. Re-encoding from that one level also removes duplicate
keys, so that an upstream can't read another ``model`` or ``max_tokens`` than the one that was checked.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw

from gateway.dataplane.endpoints.inference import Endpoint
from gateway.kernel.errors import GatewayError, Kind

try:
    from gateway.dataplane.members import members
except ImportError:  # run from source, or on another processor

    def members(body: bytes, /) -> tuple[bool, list[tuple[str, int, int]]] | None:
        """Vouches for nothing."""
        return None


Fields = dict[str, Raw]

MAX_TOKENS: Final = 10_000_000
"""More than any model's context: a larger limit is a mistake, not a wish."""
MAX_CHOICES: Final = 128
JOINED: Final = 65_536
"""Bytes of a body below which one joined write is cheaper than a vectored one."""
LARGE: Final = 8_192
"""Bytes of a body from which members.c finds its fields sooner than msgspec does."""

_decode_fields: Final = msgspec.json.Decoder(Fields).decode
_encode: Final = msgspec.json.Encoder().encode
_decode_str: Final = msgspec.json.Decoder(str).decode
_decode_bool: Final = msgspec.json.Decoder(bool | None).decode
_decode_int: Final = msgspec.json.Decoder(int | None).decode
_decode_list: Final = msgspec.json.Decoder(list[Raw]).decode
_decode_options: Final = msgspec.json.Decoder(dict[str, Raw] | None).decode
_INCLUDE_USAGE: Final = Raw(b'{"include_usage":true}')
_TRUE: Final = Raw(b"true")

T = TypeVar("T")


def invalid(message: str, field: str | None = None, code: str = "invalid_request") -> GatewayError:
    """A 400 that names the field."""
    return GatewayError(Kind.INVALID, code, message, field)


def decode(raw: bytes) -> Fields:
    """The top level of a JSON object. Raises :class:`GatewayError` ``invalid_json``."""
    if not raw:
        raise invalid("The body is empty: expected a JSON object.", code="invalid_json")
    try:
        if len(raw) >= LARGE:
            found = members(raw)
            if found is not None:
                is_ascii, places = found
                if not is_ascii:
                    raw.decode()
                whole = memoryview(raw)
                return {name: Raw(whole[start:end]) for name, start, end in places}
        if not raw.isascii():
            raw.decode()
        return _decode_fields(raw)
    except UnicodeDecodeError as error:
        raise invalid(f"The body is not valid UTF-8: bad byte at {error.start}.", code="invalid_json") from None
    except RecursionError:
        raise invalid("The body is nested too deeply.", code="invalid_json") from None
    except msgspec.ValidationError:
        raise invalid("The body must be a JSON object.", code="invalid_json") from None
    except msgspec.DecodeError as error:
        detail = str(error).removeprefix("JSON is malformed: ")
        raise invalid(f"The body is not valid JSON: {detail}.", code="invalid_json") from None


def encode(fields: Fields) -> bytes:
    """The body to send. Values are copied, keys keep their order."""
    return _encode(fields)


def parts(fields: Fields) -> list[bytes | memoryview]:
    """What :func:`encode` makes, in pieces that point into the client's body: a large one is not copied."""
    pieces: list[bytes | memoryview] = []
    before = b"{"
    for name, value in fields.items():
        pieces.append(before + _encode(name) + b":")
        pieces.append(memoryview(value))
        before = b","
    pieces.append(b"}" if pieces else b"{}")
    return pieces


def raw_string(value: str) -> Raw:
    """A string as a field's value."""
    return Raw(_encode(value))


def model_of(fields: Fields, endpoint: Endpoint) -> str:
    """The model asked for. Raises :class:`GatewayError` naming ``model``."""
    raw = fields.get("model")
    if raw is None:
        if endpoint.default_model is not None:
            return endpoint.default_model
        raise invalid("You must name a model: expected a string in 'model'.", "model", "missing_required_parameter")
    try:
        model = _decode_str(raw)
    except msgspec.MsgspecError:
        raise _wrong_type("model", "a string", raw) from None
    if not model:
        raise invalid("'model' must not be empty.", "model")
    return model


def check_prompt(fields: Fields, endpoint: Endpoint) -> None:
    """Refuse a missing or empty prompt field. Raises :class:`GatewayError`."""
    name = endpoint.prompt
    if not name:
        return
    raw = fields.get(name)
    if raw is None:
        raise invalid(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
    start = bytes(memoryview(raw)[:64])
    if start[:2] == b"[{":
        return
    if start[:1] == b"[":
        second = start[1:].lstrip()[:1]
        if second == b"]":
            raise invalid(f"'{name}' must not be empty: expected at least one element.", name, "empty_array")
        if name == "messages" and second not in (b"{", b""):
            raise invalid("'messages' must hold message objects with a 'role' and 'content'.", name, "invalid_type")
    elif name == "messages":
        raise _wrong_type(name, "an array of message objects", raw)
    elif start[:1] != b'"' and not (start[:1] == b"{" and name == "input"):  # moderations take an object too
        raise _wrong_type(name, "a string or an array", raw)


def stream_of(fields: Fields) -> bool:
    """Whether a stream was asked for. Raises :class:`GatewayError` naming ``stream``."""
    raw = fields.get("stream")
    if raw is None:
        return False
    try:
        return bool(_decode_bool(raw))
    except msgspec.MsgspecError:
        raise _wrong_type("stream", "true or false", raw) from None


def max_tokens_of(fields: Fields, least: int) -> int | None:
    """The most completion tokens asked for, over all choices, or None. Raises :class:`GatewayError`.

    Where both spellings are given the larger one counts: which of them an upstream heeds is not known.
    ``least`` is the smallest maximum that makes sense: 0 for a completion, which may only echo its prompt.
    """
    raw = fields.get("max_tokens")
    limit = None if raw is None else _bounded("max_tokens", raw, least, MAX_TOKENS)
    raw = fields.get("max_completion_tokens")
    if raw is not None:
        newer = _bounded("max_completion_tokens", raw, least, MAX_TOKENS)
        limit = limit if newer is None else max(newer, limit or 0)
    count = choices_of(fields)
    return None if limit is None else limit * count


def choices_of(fields: Fields) -> int:
    """How many answers are made: ``n`` or ``best_of``, for each prompt. Raises :class:`GatewayError`."""
    count = 1
    for name in ("n", "best_of"):
        raw = fields.get(name)
        if raw is not None:
            count = max(count, _bounded(name, raw, 1, MAX_CHOICES) or 1)
    raw = fields.get("prompt")
    if raw is None or bytes(memoryview(raw)[:1]) != b"[":
        return count
    prompts = _decode_list(raw)
    is_tokens = bool(prompts) and bytes(memoryview(prompts[0])[:1]).isdigit()
    return count if is_tokens else count * max(1, len(prompts))


def _bounded(name: str, raw: Raw, least: int, most: int) -> int | None:
    try:
        value: int | None = _decode_int(raw)
    except msgspec.MsgspecError:
        raise _wrong_type(name, "an integer", raw) from None
    if value is not None and not least <= value <= most:
        raise invalid(f"'{name}' must be between {least} and {most}.", name, "integer_out_of_range")
    return value


def ask_for_usage(fields: Fields) -> bool:
    """Make a stream end with its usage. Returns whether the client did not ask for that itself."""
    raw = fields.get("stream_options")
    if raw is None:
        fields["stream_options"] = _INCLUDE_USAGE
        return True
    try:
        options = _decode_options(raw)
    except msgspec.MsgspecError:
        raise _wrong_type("stream_options", "an object", raw) from None
    if options is None:
        fields["stream_options"] = _INCLUDE_USAGE
        return True
    asked = options.get("include_usage")
    if asked is not None:
        try:
            if _decode_bool(asked):
                return False
        except msgspec.MsgspecError:
            raise _wrong_type("stream_options.include_usage", "true or false", asked) from None
    options["include_usage"] = _TRUE
    fields["stream_options"] = Raw(_encode(options))
    return True


_JSON_TYPES = {"{": "an object", "[": "an array", '"': "a string", "t": "a boolean", "f": "a boolean", "n": "null"}


def _wrong_type(field: str, expected: str, raw: Raw) -> GatewayError:
    got = _JSON_TYPES.get(bytes(memoryview(raw)[:1]).decode("latin-1"), "a number")
    return invalid(f"Invalid type for '{field}': expected {expected}, got {got}.", field, "invalid_type")


def as_document(raw: bytes) -> dict[str, Any]:
    """The whole document as Python objects, for those who need it. Raises as :func:`decode`."""
    value: dict[str, Any] = msgspec.json.decode(raw)
    return value
