"""The Responses API as the data plane sees a client protocol: see :class:`gateway.protocols.base.ClientProtocol`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gateway.protocols.base import Asked, Json
from gateway.protocols.responses.request import read, to_chat
from gateway.protocols.responses.response import from_completion, remember
from gateway.protocols.responses.stream import ResponseStream


class Responses:
    """OpenAI's Responses API. A request may go on from stored items, which the data plane looks up."""

    name = "responses"
    native = "openai"

    def request(self, body: Json, before: Sequence[Json] = ()) -> Asked:
        """See :class:`gateway.protocols.base.ClientProtocol`. ``before`` are the items of the stored responses that the
        request goes on from.
        """
        wanted = read(body)
        chat = to_chat(wanted, before)
        return Asked(chat, remember(wanted, chat))

    def response(self, completion: Json, memo: Any) -> Json:
        """See :class:`gateway.protocols.base.ClientProtocol`."""
        return from_completion(completion, memo)

    def stream(self, memo: Any) -> ResponseStream:
        """See :class:`gateway.protocols.base.ClientProtocol`."""
        return ResponseStream(memo)

    def error(self, status: int, envelope: Json, request_id: str) -> Json:
        """OpenAI's envelope as it is, but for names of Chat's parameters that this API calls otherwise."""
        return renamed(envelope)


class InputTokens(Responses):
    """Counting the tokens of a request of the Responses API."""

    name = "responses.input_tokens"


class Compact(Responses):
    """Summing up what was said."""

    name = "responses.compact"


_NAMES: Final = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
    "logprobs": "include",
}


def renamed(envelope: Json) -> Json:
    """The envelope with ``param`` as the client's API calls it."""
    error = envelope.get("error")
    param = error.get("param") if isinstance(error, dict) else None
    if not isinstance(error, dict) or not isinstance(param, str):
        return envelope
    # What stands behind the name counts messages and nests otherwise than the client's own request.
    name = _NAMES.get(param.partition(".")[0].partition("[")[0])
    return envelope if name is None else {**envelope, "error": {**error, "param": name}}


def protocol() -> Responses:
    """The protocol."""
    return RESPONSES


RESPONSES: Final = Responses()
INPUT_TOKENS: Final = InputTokens()
COMPACT: Final = Compact()
