"""The hooks of ``pii_redaction``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Annotated, Literal

import orjson
from msgspec import Meta, Struct

from gateway.kernel.errors import GatewayError, Kind
from gateway.plugin.api import Plugin, PluginContext, Request, Response
from gateway.plugin.scan import Scanner
from gateway.plugin.streams import StreamRewriter
from gateway.plugin.texts import REQUEST_KEYS, rewrite_answer, rewrite_texts
from plugins.pii_redaction.entities import Entity, EntityName, entity
from plugins.pii_redaction.session import Detector, Session

CUSTOM_TIMEOUT = 0.25
"""Seconds that one search may take when patterns of the configuration are among those searched for."""


LARGE = 65_536
"""Bytes of a body from which on it is searched in a thread, so that other requests do not wait."""


class Custom(Struct, frozen=True, forbid_unknown_fields=True):
    """An entity of one's own; ``label`` is the word in its placeholder."""

    label: Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9_]{0,31}$")]
    pattern: Annotated[str, Meta(min_length=1, max_length=1000)]


class PiiConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """See the README for each field."""

    entities: tuple[EntityName, ...] = ("email", "phone", "credit_card", "iban", "ip", "us_ssn")
    custom: tuple[Custom, ...] = ()
    mode: Literal["reversible", "redact"] = "reversible"
    request: bool = True
    response: bool = False


class _Stream(Struct):
    session: Session
    rewriter: StreamRewriter | None = None


class PiiRedaction(Plugin):
    """Replaces personal data by placeholders on the way out, and placeholders by the originals on the way back."""

    name = "pii_redaction"
    Config = PiiConfig

    def __init__(self, config: PiiConfig, context: PluginContext) -> None:
        super().__init__(config, context)
        for index, custom in enumerate(config.custom):
            try:
                Scanner([custom.pattern])
            except ValueError as error:
                raise GatewayError(Kind.INVALID, "plugin_config", str(error), f"custom[{index}].pattern") from None
        # The strictest first: a national number or card is also a run of digits that could be dialled.
        names = sorted(dict.fromkeys(config.entities), key=lambda name: name == "phone")
        entities = [Entity(custom.label, (custom.pattern,)) for custom in config.custom]
        entities += [entity(name) for name in names]
        if not entities:
            raise GatewayError(Kind.INVALID, "plugin_config", "expected at least one entity or custom", "entities")
        self._detector = Detector(entities, CUSTOM_TIMEOUT if config.custom else None)

    def on_request(self, request: Request) -> Awaitable[None] | None:
        if not request.is_json:
            return None
        if len(request.raw) > LARGE:
            return asyncio.to_thread(self._redact, request)
        self._redact(request)
        return None

    def _redact(self, request: Request) -> None:
        config: PiiConfig = self.config
        reversible = config.mode == "reversible"
        taken = self._taken(request) if reversible else set()
        session = Session(self._detector, reversible=reversible, redact_answer=config.response, taken=taken)
        if config.request and rewrite_texts(request.body, REQUEST_KEYS, session.redact, session.redact_arguments):
            request.changed()
        if session.used or config.response:
            request.state[self.name] = _Stream(session)

    def _taken(self, request: Request) -> set[str]:
        text = request.raw.decode("utf-8", "replace") if b"_" in request.raw else ""
        return {
            f"{match.group(1).upper()}_{int(match.group(2))}" for match in self._detector.placeholder.finditer(text)
        }

    def on_response(self, request: Request, response: Response) -> Awaitable[None] | None:
        stream: _Stream | None = request.state.get(self.name)
        if stream is None or "json" not in response.content_type:
            return None
        if len(response.body) > LARGE:
            return asyncio.to_thread(self._restore, response, stream.session)
        self._restore(response, stream.session)
        return None

    def _restore(self, response: Response, session: Session) -> None:
        try:
            document = response.json
        except orjson.JSONDecodeError:
            return
        if isinstance(document, dict) and rewrite_answer(document, session.restore, session.restore_arguments):
            response.json = document

    def on_chunk(self, request: Request, event: bytes) -> bytes:
        stream: _Stream | None = request.state.get(self.name)
        if stream is None:
            return event
        if stream.rewriter is None:
            stream.rewriter = StreamRewriter(stream.session.filter)
        return stream.rewriter.event(event)
