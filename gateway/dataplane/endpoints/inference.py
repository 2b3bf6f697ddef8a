"""The inference endpoints: what each is called, where it is served, and what its body must hold.

To add one: add an :class:`Endpoint` to ``ENDPOINTS``. Everything else (aliases, authentication, limits, plugins,
routing, usage) follows.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.contract.owners import Reference
from gateway.protocols.base import ClientProtocol
from gateway.protocols.messages import COUNT_TOKENS, MESSAGES
from gateway.protocols.responses.protocol import COMPACT, INPUT_TOKENS, RESPONSES

PREFIXES = (b"/v1", b"", b"/api/v1/llm")
"""Where the endpoints begin: OpenAI's own prefix, a base URL without one, and one for apps that keep LLM paths below
``/api``."""


class Endpoint(NamedTuple):
    """One inference endpoint.

    ``path`` is below the provider's base URL. ``form`` endpoints take ``multipart/form-data`` and are relayed as they
    arrive. ``prompt`` is the field that must not be empty. ``generates``: ``stream_options`` and token limits apply.
    ``protocol`` is what its clients speak where that is neither OpenAI's Chat Completions nor what it has beside them.
    ``free``: it uses no tokens. ``stateful``: what was answered is kept, and later requests go on from it.
    ``decides``: it is answered with what a learned route would choose, by no model, in AI Marketplace's form.
    ``reference``: whose envelope its errors have. ``begin``: fields that stand before those of a successful answer.
    ``json_answer``: a successful answer is JSON or an event stream, and anything else is a fault of the upstream.
    """

    name: str
    path: bytes
    prompt: str = ""
    form: bool = False
    generates: bool = False
    json_answer: bool = True
    default_model: str | None = None
    protocol: ClientProtocol | None = None
    free: bool = False
    stateful: bool = False
    decides: bool = False
    reference: Reference = "openai"
    begin: bytes = b""

    @property
    def shape(self) -> str:
        """The endpoint whose requests and answers these are inside the gateway, as plugins see them."""
        return "chat.completions" if self.protocol is not None and self.generates else self.name

    @property
    def sent_path(self) -> bytes:
        """Where a target of OpenAI's API serves it."""
        return self.path if self.protocol is None else b"/chat/completions"


ENDPOINTS = (
    Endpoint("chat.completions", b"/chat/completions", prompt="messages", generates=True),
    Endpoint("completions", b"/completions", prompt="prompt", generates=True),
    Endpoint("messages", b"/messages", prompt="messages", generates=True, protocol=MESSAGES),
    Endpoint("messages.count_tokens", b"/messages/count_tokens", prompt="messages", protocol=COUNT_TOKENS, free=True),
    Endpoint("responses", b"/responses", generates=True, protocol=RESPONSES, stateful=True),
    Endpoint("responses.compact", b"/responses/compact", generates=True, protocol=COMPACT, stateful=True),
    Endpoint("responses.input_tokens", b"/responses/input_tokens", protocol=INPUT_TOKENS, free=True, stateful=True),
    Endpoint("embeddings", b"/embeddings", prompt="input"),
    Endpoint("moderations", b"/moderations", prompt="input", default_model="omni-moderation-latest"),
    Endpoint("rerank", b"/rerank", prompt="query"),
    Endpoint("audio.speech", b"/audio/speech", prompt="input", json_answer=False),
    Endpoint("audio.transcriptions", b"/audio/transcriptions", form=True, json_answer=False),
    Endpoint("audio.translations", b"/audio/translations", form=True, json_answer=False),
    Endpoint("images.generations", b"/images/generations", prompt="prompt"),
    Endpoint("images.edits", b"/images/edits", form=True),
    Endpoint("images.variations", b"/images/variations", form=True, default_model="dall-e-2"),
)

GATEWAYZ_IMAGES = Endpoint(
    "images.generations", b"/images/generations", prompt="prompt", reference="gatewayz", begin=b'"success":true'
)
"""Gatewayz' reference, "Image Generation": what OpenAI has, with ``success``, under one path of its own."""

ML_ROUTE = Endpoint("/v1/ml/route", b"/ml/route", decides=True, reference="ai_marketplace")
ML_ROUTE_BATCH = Endpoint("/v1/ml/route", b"/ml/route/batch", decides=True, reference="ai_marketplace")
"""Both tell of each decision by the same name."""

BY_PATH: dict[bytes, Endpoint] = {
    **{prefix + endpoint.path: endpoint for prefix in PREFIXES for endpoint in ENDPOINTS},
    **{b"/v1" + endpoint.path: endpoint for endpoint in (ML_ROUTE, ML_ROUTE_BATCH)},
    b"/images/generate": GATEWAYZ_IMAGES,
}
