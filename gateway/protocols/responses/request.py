"""A request of the Responses API → one of Chat Completions.

Two steps: :func:`read` checks what the gateway itself answers for (what is stored, what runs in the background, how the
answer is shown), :func:`to_chat` translates, given the items of stored responses that come before the request's own.
Source: OpenAI API reference, "Create a model response"; ``max_tokens`` and ``response_format`` are Gatewayz'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from gateway.protocols.base import Json, missing
from gateway.protocols.responses.checks import (
    array,
    boolean,
    integer,
    object_of,
    one_of,
    refusal,
    string,
    text_or_none,
    unsupported,
)
from gateway.protocols.responses.items import to_messages
from gateway.protocols.responses.tools import add_format, add_tools

MAX_TOKENS: Final = 10_000_000

_SAME: Final = (
    *("temperature", "top_p", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_options"),
    *("prompt_cache_retention", "service_tier", "cache_control"),
    *("stop", "seed", "frequency_penalty", "presence_penalty", "logit_bias", "top_k", "min_p", "repetition_penalty"),
)
"""What Chat calls by the same name. Those of the last line are Chat's own: a client that sends them means them."""

_READ: Final = (
    *("model", "input", "instructions", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls"),
    *("text", "response_format", "reasoning", "max_output_tokens", "max_tokens", "max_tool_calls", "metadata"),
    *("previous_response_id", "conversation", "store", "background", "include", "truncation", "top_logprobs"),
)
_ELSEWHERE: Final = {
    "prompt": "has no stored prompts",
    "context_management": "does not compact a context",
    "moderation": "does not moderate what it generates",
    "background_options": "has no completion windows",
    "access_programs": "has no access programs",
    "image": "has no options for images",
}
"""What OpenAI alone has: refused unless the request goes there."""
_KNOWN: Final = frozenset((*_SAME, *_READ, *_ELSEWHERE))

_INCLUDE: Final = (
    *("file_search_call.results", "web_search_call.results", "web_search_call.action.sources"),
    *("message.input_image.image_url", "computer_call_output.output.image_url", "code_interpreter_call.outputs"),
    *("reasoning.encrypted_content", "message.output_text.logprobs"),
)


class Wanted(Struct):
    """What a request asks of the gateway.

    ``items`` are its own input, a plain text as the message it stands for. ``store`` is whether the answer is kept;
    ``previous`` and ``conversation`` are ids, of which at most one is given. ``obfuscate``: deltas are padded.
    """

    body: Json
    items: list[Any]
    store: bool = True
    background: bool = False
    stream: bool = False
    previous: str | None = None
    conversation: str | None = None
    include: tuple[str, ...] = ()
    obfuscate: bool = False


def read(body: Json) -> Wanted:
    """Check what the gateway answers for itself. Raises :class:`~gateway.kernel.errors.GatewayError` naming a field."""
    for name in body:
        if name not in _KNOWN:
            raise refusal(f"Unknown parameter: '{name[:100]}'.", name, "unknown_parameter")
    get = body.get
    previous = text_or_none(get("previous_response_id"), "previous_response_id")
    conversation = _conversation(get("conversation"))
    if previous is not None and conversation is not None:
        raise refusal("'previous_response_id' and 'conversation' exclude one another.", "previous_response_id")
    items = _items(get("input"), required=previous is None and conversation is None)
    store = boolean(get("store"), "store", True)
    background = boolean(get("background"), "background", False)
    if background and not store:
        raise refusal("A response in the background must be stored: 'store' can't be false.", "store")
    check_metadata(get("metadata"))
    return Wanted(
        body,
        items,
        store,
        background,
        boolean(get("stream"), "stream", False),
        previous,
        conversation,
        _include(get("include")),
        _obfuscate(get("stream_options")),
    )


def to_chat(wanted: Wanted, before: Sequence[Json] = ()) -> Json:
    """The Chat request. ``before`` are the items of the stored responses it goes on from.

    Raises :class:`~gateway.kernel.errors.GatewayError` (INVALID) for what Chat can't say, naming the field.
    """
    body = wanted.body
    for name, why in _ELSEWHERE.items():
        if body.get(name):
            raise unsupported(name, why)
    origin = "previous_response_id" if wanted.conversation is None else "conversation"
    messages = to_messages([*before, *wanted.items] if before else wanted.items, len(before), origin)
    instructions = text_or_none(body.get("instructions"), "instructions")
    if instructions:
        messages.insert(0, {"role": "system", "content": instructions})
    if not messages:
        raise refusal("'input' must not be empty: expected at least one item.", "input", "empty_array")
    chat: Json = {"model": body.get("model"), "messages": messages}
    if wanted.stream:
        chat["stream"] = True
    for name in body:
        if name in _SAME and body[name] is not None:
            chat[name] = body[name]
    add_tools(chat, body)
    add_format(chat, body)
    _add_lengths(chat, body)
    _add_reasoning(chat, body)
    _add_logprobs(chat, wanted)
    return chat


def _items(given: object, *, required: bool) -> list[Any]:
    if given is None:
        if required:
            raise missing("input")
        return []
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    return array(given, "input")


def _conversation(given: object) -> str | None:
    if isinstance(given, dict):
        return string(given.get("id"), "conversation.id")
    return text_or_none(given, "conversation")


def _include(given: object) -> tuple[str, ...]:
    if given is None:
        return ()
    return tuple(one_of(each, f"include[{i}]", _INCLUDE) for i, each in enumerate(array(given, "include")))


def _obfuscate(options: object) -> bool:
    if options is None:
        return False
    name = "stream_options.include_obfuscation"
    return boolean(object_of(options, "stream_options").get("include_obfuscation"), name, False)


def check_metadata(given: object) -> None:
    """At most 16 pairs of strings, keys to 64 characters and values to 512."""
    if given is None:
        return
    pairs = object_of(given, "metadata")
    if len(pairs) > 16:
        raise refusal("'metadata' may have at most 16 pairs.", "metadata")
    for name, value in pairs.items():
        if len(name) > 64:
            raise refusal("A key of 'metadata' may have at most 64 characters.", "metadata")
        if len(string(value, f"metadata.{name}")) > 512:
            raise refusal("A value of 'metadata' may have at most 512 characters.", f"metadata.{name}")


def _add_lengths(chat: Json, body: Json) -> None:
    longest = integer(body.get("max_output_tokens"), "max_output_tokens", 1, MAX_TOKENS)
    plain = integer(body.get("max_tokens"), "max_tokens", 1, MAX_TOKENS)
    if longest is not None:
        if plain is not None:
            raise refusal("'max_tokens' is the same as 'max_output_tokens': give one of them.", "max_tokens")
        chat["max_completion_tokens"] = longest
    elif plain is not None:
        chat["max_tokens"] = plain
    # Calls of built-in tools are limited by this, of which there are none here.
    integer(body.get("max_tool_calls"), "max_tool_calls", 0, MAX_TOKENS)
    if body.get("truncation") is not None:  # the data plane knows how much is too much
        one_of(body["truncation"], "truncation", ("auto", "disabled"))


def _add_reasoning(chat: Json, body: Json) -> None:
    given = body.get("reasoning")
    if given is None:
        return
    reasoning = object_of(given, "reasoning")
    if reasoning.get("effort") is not None:
        chat["reasoning_effort"] = string(reasoning["effort"], "reasoning.effort")
    for name in ("context", "mode"):
        if reasoning.get(name) not in (None, "auto", "standard"):
            raise unsupported(f"reasoning.{name}", "has no such setting")


def summarized(body: Json) -> bool:
    """Whether thoughts are to be shown as a summary. Raises :class:`~gateway.kernel.errors.GatewayError`."""
    reasoning = body.get("reasoning")
    if reasoning is None:
        return False
    for name in ("summary", "generate_summary"):
        word = object_of(reasoning, "reasoning").get(name)
        if word is not None:
            one_of(word, f"reasoning.{name}", ("auto", "concise", "detailed"))
            return True
    return False


def _add_logprobs(chat: Json, wanted: Wanted) -> None:
    most = integer(wanted.body.get("top_logprobs"), "top_logprobs", 0, 20)
    if most or "message.output_text.logprobs" in wanted.include:
        chat["logprobs"] = True
    if most:
        chat["top_logprobs"] = most
