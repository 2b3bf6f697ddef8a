"""What a client protocol is to the data plane.

A client's request becomes one of the internal form, which is OpenAI's Chat Completions as parsed JSON with the
extension fields of ``docs/protocols.md``; the internal answer, whole or chunk by chunk, becomes one of the client's.
Nothing here does any I/O, and nothing knows a provider.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from gateway.kernel.errors import GatewayError, Kind

Json: TypeAlias = dict[str, Any]
"""A JSON object of the internal form: a request, a completion, or one chunk of a stream."""


class Asked(NamedTuple):
    """A request in the internal form. ``memo`` is the protocol's own: what it must remember to make the answer."""

    chat: Json
    memo: Any = None


class StreamEncoder(Protocol):
    """One streamed answer on its way to the client. Calls come in order; each returns bytes for the client, which are
    whole server-sent events, or nothing.
    """

    def go_on(self, begun: Any) -> None:
        """Called before anything else, where the client has the answer's beginning already, in its own protocol.
        ``begun`` is what the protocol must know of it, in a form of its own.
        """

    def feed(self, chunk: Json) -> bytes:
        """The next chunk. The one with the usage has empty ``choices`` and is always there, as the last one, where the
        usage is known: what a protocol must tell at its end can wait for it until :meth:`end`.
        """

    def end(self) -> bytes:
        """The answer is complete: OpenAI's ``[DONE]``. Called at most once."""

    def error(self, status: int, envelope: Json, request_id: str) -> bytes:
        """The stream ends here with an error, ``{"error": {"message", "type", "param", "code"}}``; :meth:`end` is not
        called.
        """


class ClientProtocol(Protocol):
    """One API that clients speak.

    ``name`` is the endpoint's name in usage events. ``native`` is the ``kind`` of the providers that speak this API
    themselves, to whom a request is relayed as it came; empty where there is none.
    """

    name: str
    native: str

    def request(self, body: Json) -> Asked:
        """The internal form of a request. ``model`` is taken over as it is, ``stream`` is a boolean.

        Raises :class:`~gateway.kernel.errors.GatewayError` (INVALID) that names the field and what was expected. It may
        not change ``body``.
        """

    def response(self, completion: Json, memo: Any) -> Json:
        """The whole answer for the client, out of a ``chat.completion``."""

    def stream(self, memo: Any) -> StreamEncoder:
        """The encoder of one streamed answer."""

    def error(self, status: int, envelope: Json, request_id: str) -> Json:
        """The body of an error for the client, out of OpenAI's envelope."""


def invalid(field: str, expected: str, got: object) -> GatewayError:
    """A 400 for a field that is not what it must be. ``expected`` is a phrase such as ``an array of blocks``."""
    message = f"Invalid value for '{field}': expected {expected}, got {_told(got)}."
    return GatewayError(Kind.INVALID, "invalid_type", message, field)


def missing(field: str) -> GatewayError:
    """A 400 for a field that must be there."""
    return GatewayError(Kind.INVALID, "missing_required_parameter", f"Missing required parameter: '{field}'.", field)


def _told(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value[:60]}'"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "an array"
    return str(value)[:60]
