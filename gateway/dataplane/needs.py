"""What a request asks of a target, and which targets can give it.

A prompt's tokens are not counted here. Where its size leaves a doubt, a target with a longer context is asked first and
the others stay in the list; only what can't fit by any count is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.dataplane import body as bodies
from gateway.kernel.errors import GatewayError, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.dataplane.exchange import Exchange
    from gateway.dataplane.target import Target
    from gateway.settings.known_targets import Capabilities

LIKELY: Final = 4
"""Bytes of JSON a token takes in most languages."""
MOST: Final = 16
"""Bytes that no prompt's tokens exceed on average: beyond, a prompt surely does not fit."""

_TAIL: Final = 65_536  # bytes in which the last message is looked for
_IMAGES: Final = (b'"image_url"', b'"input_image"')


class Needs:
    """``tools``, ``vision``, ``json_schema`` and ``prefill`` say what is asked for; the rest are tokens: ``least`` and
    ``likely`` of the prompt, ``answer`` the most of one completion, 0 where the client sets no bound.
    """

    __slots__ = ("answer", "json_schema", "least", "likely", "prefill", "tools", "vision")

    def __init__(self, exchange: Exchange) -> None:
        fields = exchange.fields or {}
        messages = fields.get("messages")
        raw = b"" if messages is None else bytes(memoryview(messages))
        self.tools = _is_given(fields, "tools") or _is_given(fields, "functions")
        self.vision = any(mark in raw for mark in _IMAGES)
        self.json_schema = _mentions(fields, "response_format", b'"json_schema"')
        self.prefill = _asks_to_go_on(fields, raw)
        # An image's tokens have nothing to do with its bytes.
        size = 0 if self.vision else len(exchange.raw)
        self.least = size // MOST
        self.likely = size // LIKELY
        most = exchange.max_tokens or 0
        self.answer = most // bodies.choices_of(fields) if most else 0

    def lacking(self, offered: Capabilities) -> str:
        """The field that a target can't serve, or an empty text."""
        if self.tools and not offered.tools:
            return "tools"
        if self.vision and not offered.vision:
            return "vision"
        if self.json_schema and not offered.json_schema:
            return "json_schema"
        if self.prefill and offered.prefill == "none":
            return "prefill"
        context = offered.context_length
        if context is not None and (self.least >= context or self.answer > context):
            return "context_length"
        return ""

    def fits(self, offered: Capabilities) -> bool:
        """Whether prompt and answer are likely to fit."""
        return offered.context_length is None or self.likely + self.answer <= offered.context_length


def _is_given(fields: bodies.Fields, name: str) -> bool:
    raw = fields.get(name)
    return raw is not None and bytes(memoryview(raw)[:8]).replace(b" ", b"") not in (b"null", b"[]", b"{}")


def _mentions(fields: bodies.Fields, name: str, mark: bytes) -> bool:
    raw = fields.get(name)
    return raw is not None and mark in bytes(memoryview(raw))


def _asks_to_go_on(fields: bodies.Fields, messages: bytes) -> bool:
    raw = fields.get("continue_final_message")
    if raw is not None and bytes(memoryview(raw)) == b"true":
        return True
    tail = messages[-_TAIL:]
    return b'"prefix"' in tail and b'"prefix":true' in tail.replace(b": ", b":")


_ASKED: Final = {
    "tools": ("takes tools", "tools", "tools_not_supported"),
    "vision": ("takes images", "messages", "vision_not_supported"),
    "json_schema": ("answers by a JSON schema", "response_format", "json_schema_not_supported"),
    "prefill": ("goes on from the beginning of an answer", "messages", "prefill_not_supported"),
}


def fits_all(exchange: Exchange, shortest: int) -> bool:
    """Whether a request is likely to fit into a context of ``shortest`` tokens, without a look at what it holds."""
    size = len(exchange.raw) if exchange.upload is None else 0
    return size // LIKELY + (exchange.max_tokens or 0) <= shortest


def able(exchange: Exchange, targets: list[Target]) -> list[Target]:
    """The targets that can serve a request, those it is likely to fit first. Raises :class:`GatewayError` (INVALID)
    that names what was asked for where none can.
    """
    needs = Needs(exchange)
    kept = [target for target in targets if not needs.lacking(target.offers)]
    if not kept and targets:
        raise _refusal(exchange.model, needs, targets)
    fitting = [target for target in kept if needs.fits(target.offers)]
    if len(fitting) == len(kept):
        return kept
    doubtful = [target for target in kept if not needs.fits(target.offers)]
    doubtful.sort(key=lambda target: target.offers.context_length or 0, reverse=True)
    return fitting + doubtful


def _refusal(model: str, needs: Needs, targets: Iterable[Target]) -> GatewayError:
    lacking = [needs.lacking(target.offers) for target in targets]
    for name, (what, field, code) in _ASKED.items():
        if all(lack == name for lack in lacking):
            return GatewayError(Kind.INVALID, code, f"Nothing that serves the model '{model}' {what}.", field)
    if "context_length" in lacking:
        longest = max(target.offers.context_length or 0 for target in targets)
        asked = f"about {needs.likely} tokens of prompt" + (f" and {needs.answer} of answer" if needs.answer else "")
        message = f"The model '{model}' takes at most {longest} tokens in all, and the request asks for {asked}."
        field = "max_tokens" if needs.answer > longest else "messages"
        return GatewayError(Kind.INVALID, "context_length_exceeded", message, field)
    asked = " and ".join(dict.fromkeys(_ASKED[lack][0] for lack in lacking))
    message = f"Nothing that serves the model '{model}' does all of what is asked for: it {asked}."
    return GatewayError(Kind.INVALID, "unsupported_combination", message, "model")
