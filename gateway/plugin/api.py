"""What a plugin sees and what it may override.

A plugin is a class with a ``name``, a typed ``Config`` (a :class:`msgspec.Struct`) and the hooks it overrides. A hook
that is not overridden costs nothing: the chain binds only overridden ones, once, at start. A hook may be a plain
function or a coroutine function; a plain one is cheaper.

Order: ``on_request`` and ``on_route`` run in the order of ``gateway.yaml``; ``on_response``, ``on_chunk``,
``on_usage`` and ``on_error`` run in reverse, and only for plugins whose ``on_request`` turn came.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import orjson
from msgspec import Struct

from gateway.kernel.errors import GatewayError
from gateway.plugin.request import Request as Request

if TYPE_CHECKING:
    from gateway.contract.usage import Tokens, UsageEvent


class NoConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The configuration of a plugin that has none."""


class Answer:
    """A whole answer given by a plugin instead of an upstream.

    ``events`` (complete server-sent events, terminators included) is used for a streaming request, ``body`` otherwise.
    ``cached`` marks the usage event as served from cache: it costs nothing, and tells what it saved. ``tokens`` are
    those of the answer, for that; None where its body tells them.
    """

    __slots__ = ("body", "cached", "content_type", "events", "status", "tokens")

    def __init__(
        self,
        body: bytes = b"",
        *,
        status: int = 200,
        content_type: str = "application/json",
        events: Iterable[bytes] | None = None,
        cached: bool = False,
        tokens: Tokens | None = None,
    ) -> None:
        self.tokens = tokens
        self.body = body
        self.status = status
        self.content_type = content_type
        self.events = events
        self.cached = cached


class Response:
    """A non-streaming upstream answer. Assign ``body`` (bytes) or ``json`` to change it."""

    __slots__ = ("_body", "_json", "content_type", "status")

    def __init__(self, status: int, content_type: str, body: bytes) -> None:
        self.status = status
        self.content_type = content_type
        self._body = body
        self._json: Any = None

    @property
    def body(self) -> bytes:
        """The body as the client would get it."""
        return self._body

    @body.setter
    def body(self, value: bytes) -> None:
        self._body = value
        self._json = None

    @property
    def json(self) -> Any:
        """The body parsed as JSON. Raises :class:`orjson.JSONDecodeError` where it is none."""
        if self._json is None:
            self._json = orjson.loads(self._body)
        return self._json

    @json.setter
    def json(self, value: Any) -> None:
        self._json = value
        self._body = orjson.dumps(value)


class Route(Struct):
    """The target chosen for a request. ``on_route`` may read it, or refuse by raising :class:`GatewayError`."""

    model: str
    provider: str
    target: str


class PluginContext(Struct, frozen=True):
    """What a plugin gets at start beside its own configuration."""

    data_dir: str
    redis_url: str | None


RequestHook: TypeAlias = "Answer | Awaitable[Answer | None] | None"
ChunkHook: TypeAlias = "bytes | Awaitable[bytes | None] | None"
Done: TypeAlias = "Awaitable[None] | None"


class Plugin:
    """Base class of every plugin, shipped or not. Raise :class:`GatewayError` in a hook to refuse a request."""

    name: ClassVar[str]
    Config: ClassVar[type[Struct]] = NoConfig

    def __init__(self, config: Any, context: PluginContext) -> None:
        self.config = config
        self.context = context

    async def start(self) -> None:
        """Called once in each worker before the first request."""

    async def stop(self) -> None:
        """Called when the configuration is replaced or the worker ends, after the last request of this instance."""

    def on_request(self, request: Request) -> RequestHook:
        """Before routing. May change the request, answer it at once by returning an :class:`Answer`, or refuse it."""
        return None

    def on_route(self, request: Request, route: Route) -> Done:
        """After a target was chosen, before it is called; again for each further attempt."""
        return None

    def on_response(self, request: Request, response: Response) -> Done:
        """A whole non-streaming answer, before the client gets it."""
        return None

    def on_chunk(self, request: Request, event: bytes) -> ChunkHook:
        """One whole server-sent event with its terminator.

        Return what the client shall get: the event, one or more other events, or ``b""`` for none; ``None`` leaves the
        event as it is.
        The last event of a complete stream is ``data: [DONE]``; text held back must come out before it.
        """
        return event

    def on_usage(self, request: Request, event: UsageEvent) -> Done:
        """The usage event of the request, before it is stored. Only ``tags`` may be changed."""
        return None

    def on_error(self, request: Request, error: GatewayError) -> Done:
        """The request ended in an error that the client is about to get."""
        return None
