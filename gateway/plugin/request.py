"""What a plugin sees of a request. In a module of its own, which can be compiled: see ``scripts/compile.py``."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.kernel.errors import GatewayError, Kind


class Request:
    """One inference request as plugins see it.

    ``body`` is the JSON document as a dict, parsed on first use; after changing it in place call :meth:`changed`, or
    assign ``body`` anew. ``raw`` is always the bytes that would go upstream. For a multipart or binary body ``is_json``
    is false and ``body`` raises ``GatewayError(INVALID)``.
    """

    __slots__ = (
        "_body",
        "_raw",
        "credential",
        "endpoint",
        "headers",
        "id",
        "is_json",
        "model",
        "organization",
        "response_headers",
        "state",
        "stream",
        "tags",
        "turns",
    )

    id: str
    """The request id the client also gets as ``x-request-id``."""
    endpoint: str
    """``chat.completions``, ``completions``, ``embeddings``, ``moderations``, ``rerank``, ``audio.speech`` …"""
    model: str
    """The model asked for. A plugin may set another configured name in ``on_request``."""
    stream: bool
    credential: str
    """The credential's name, never its secret."""
    organization: str
    headers: dict[str, str]
    """The client's headers by lower-case name, without credentials."""
    response_headers: dict[str, str]
    """Headers to add to the answer, by lower-case name."""
    tags: dict[str, str]
    """Labels that go into the usage event."""
    state: dict[str, Any]
    """A plugin's own per-request scratch space, by plugin name."""
    is_json: bool
    turns: int
    """One bit per plugin whose turn came: the chain's own mark, ``Chain.turns`` before ``on_request`` runs."""

    @property
    def route_wish(self) -> str:
        """What a learned route decides by beside the prompt: goal, constraints and the models that the caller may use,
        as a text; empty where nothing is said. Two requests with different ones may go to different targets.
        """
        return ""

    async def before_waiting(self) -> None:
        """Called by the chain before it awaits what a hook returned: a place to see to it that a task is running."""

    @property
    def raw(self) -> bytes:
        """The request body as it would go upstream."""
        if self._raw is None:
            self._raw = orjson.dumps(self._body)
        return self._raw

    @raw.setter
    def raw(self, value: bytes) -> None:
        self._raw = value
        self._body = None

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body as a dict, parsed on first use."""
        if self._body is None:
            if not self.is_json or self._raw is None:
                raise GatewayError(Kind.INVALID, "invalid_request", "This request has no JSON body.")
            self._body = orjson.loads(self._raw)
        return self._body

    @body.setter
    def body(self, value: dict[str, Any]) -> None:
        self._body = value
        self._raw = None

    def changed(self) -> None:
        """Tell that ``body`` was changed in place."""
        if self._body is not None:
            self._raw = None

    _raw: bytes | None
    _body: dict[str, Any] | None
