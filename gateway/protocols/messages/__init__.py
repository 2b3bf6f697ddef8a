"""Anthropic's Messages API as clients speak it (API reference, "Messages", version 2023-06-01)."""

from __future__ import annotations

from typing import Any

from gateway.protocols.base import Asked, Json
from gateway.protocols.messages.errors import error_of
from gateway.protocols.messages.request import chat_of
from gateway.protocols.messages.response import message_of
from gateway.protocols.messages.stream import MessageEncoder


class Messages:
    """See :class:`gateway.protocols.base.ClientProtocol`."""

    name = "messages"
    native = "anthropic"

    def request(self, body: Json) -> Asked:
        """The internal form of a Messages request."""
        return Asked(chat_of(body))

    def response(self, completion: Json, memo: Any) -> Json:
        """A Message."""
        return message_of(completion)

    def stream(self, memo: Any) -> MessageEncoder:
        """The encoder of one streamed Message."""
        return MessageEncoder()

    def error(self, status: int, envelope: Json, request_id: str) -> Json:
        """``{"type": "error", "error": {"type", "message"}, "request_id"}``."""
        return error_of(status, envelope, request_id)


class CountTokens(Messages):
    """Counting the tokens of a Messages request, which then needs no ``max_tokens``."""

    name = "messages.count_tokens"

    def request(self, body: Json) -> Asked:
        """The internal form of the request whose tokens are counted."""
        return Asked(chat_of({"max_tokens": 1, **body}))


MESSAGES = Messages()
COUNT_TOKENS = CountTokens()
