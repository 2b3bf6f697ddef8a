"""The hooks of ``keyword_guard``."""

from __future__ import annotations

from typing import Annotated, Literal

import orjson
from msgspec import Meta, Struct

from gateway.kernel.errors import Kind
from gateway.plugin.api import Plugin, PluginContext, Request, Response
from gateway.plugin.streams import StreamRewriter
from gateway.plugin.texts import REQUEST_KEYS, rewrite_answer, rewrite_texts
from plugins.keyword_guard.rules import Rules, WordList, check

_REFUSALS = {400: Kind.INVALID, 403: Kind.FORBIDDEN}


class KeywordConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """``status`` is what a client gets for a blocked request."""

    lists: Annotated[tuple[WordList, ...], Meta(min_length=1)]
    status: Literal[400, 403] = 403


class KeywordGuard(Plugin):
    """Blocks or masks words in requests and answers."""

    name = "keyword_guard"
    Config = KeywordConfig

    def __init__(self, config: KeywordConfig, context: PluginContext) -> None:
        super().__init__(config, context)
        refusal = _REFUSALS[config.status]
        for index, words in enumerate(config.lists):
            check(words, f"lists[{index}]")
        self._asked = Rules([each for each in config.lists if each.apply != "response"], refusal, "request")
        self._answered = Rules([each for each in config.lists if each.apply != "request"], refusal, "answer")

    def on_request(self, request: Request) -> None:
        if (
            self._asked
            and request.is_json
            and rewrite_texts(request.body, REQUEST_KEYS, self._asked.text, self._asked.arguments)
        ):
            request.changed()

    def on_response(self, request: Request, response: Response) -> None:
        if not self._answered or "json" not in response.content_type:
            return
        try:
            document = response.json
        except orjson.JSONDecodeError:
            return
        if isinstance(document, dict) and rewrite_answer(document, self._answered.text, self._answered.arguments):
            response.json = document

    def on_chunk(self, request: Request, event: bytes) -> bytes:
        if not self._answered:
            return event
        rewriter: StreamRewriter | None = request.state.get(self.name)
        if rewriter is None:
            rewriter = request.state[self.name] = StreamRewriter(self._answered.filter)
        return rewriter.event(event)
