"""Joining two streams: what another target says becomes the rest of what the client has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
from msgspec import structs

from gateway.contract.usage import Tokens
from gateway.dataplane.prefill import continued
from gateway.plugin.sse import DONE, data_of, split_events, with_data

if TYPE_CHECKING:
    from gateway.dataplane.body import Fields
    from gateway.dataplane.recounting import Parts, PromptFrom
    from gateway.dataplane.target import Target
    from gateway.dataplane.transcript import Said
    from gateway.dataplane.upstream.errors import UpstreamError

_PARTS: Final = ("cached", "cache_write", "cache_write_1h", "audio_prompt", "image_prompt")
"""The kinds of a prompt's tokens."""


class Seam:
    """``how``: ``prefill`` goes on from the text the client has, ``fresh`` begins an answer of which it has nothing,
    ``restart`` begins it anew. ``prompt`` and ``completion`` are the tokens of the parts before; a prompt of None is
    not known yet. ``parts`` are those that are counted in the end.
    """

    def __init__(self, said: Said, how: str, prompt: int | None, completion: int, parts: Parts) -> None:
        self.parts = parts
        self._said = said
        self._how = how
        self._prompt = prompt
        self._completion = completion
        self._role = said.role
        self._space = ""

    def fields_for(self, fields: Fields, target: Target) -> Fields:
        """The request as it goes to a target, with the beginning of the answer where it is to go on from there."""
        if self._how != "prefill":
            return dict(fields)
        text = self._said.text
        made = continued(fields, text, target.prefill, self._said.pieces)
        assert made is not None
        # Some providers take no prefill that ends in white space: it is left out there, and here where it comes again.
        if target.prefill == "message" and "messages" in fields:
            self._space = text[len(text.rstrip()) :]
        return made

    def join(self, block: bytes) -> bytes:
        """Whole events as the client gets them: empty where they hold nothing new."""
        return b"".join(map(self._event, split_events(block)))

    def _event(self, event: bytes) -> bytes:
        payload = data_of(event)
        if payload is None or payload == DONE:
            return event
        document = orjson.loads(payload)
        if not isinstance(document, dict):
            return event
        said = self._said
        for name, value in (("id", said.id), ("created", said.created), ("model", said.model)):
            if value is not None and name in document:
                document[name] = value
        if "system_fingerprint" in document:
            document["system_fingerprint"] = said.fingerprint
        if isinstance(document.get("usage"), dict):
            self._add_usage(document["usage"])
        choices = document.get("choices")
        if isinstance(choices, list) and choices:
            kept = [choice for choice in choices if self._is_new(choice)]
            if not kept and not document.get("usage"):
                return b""
            document["choices"] = kept
        return with_data(event, orjson.dumps(document))

    def _is_new(self, choice: Any) -> bool:
        """Take out of a choice what the client has; whether anything is left."""
        if not isinstance(choice, dict):
            return True
        delta = choice.get("delta")
        if isinstance(delta, dict):
            if "role" in delta and self._role:
                del delta["role"]
            elif "role" in delta:
                self._role = True
                return True
            if isinstance(delta.get("content"), str):
                delta["content"] = self._without_space(delta["content"])
            empty = not any(value not in (None, "", []) for value in delta.values())
        else:
            choice["text"] = self._without_space(choice.get("text") or "")
            empty = not choice["text"]
        return not empty or choice.get("finish_reason") is not None

    def _without_space(self, text: str) -> str:
        while self._space and text:
            if text[0] != self._space[0]:
                self._space = ""
                break
            text, self._space = text[1:], self._space[1:]
        return text

    def _add_usage(self, usage: dict[str, Any]) -> None:
        told = Tokens(prompt=_count(usage, "prompt_tokens"), completion=_count(usage, "completion_tokens"))
        total = self.total(told)
        usage["prompt_tokens"], usage["completion_tokens"] = total.prompt, total.completion
        usage["total_tokens"] = total.prompt + total.completion

    @property
    def prompt_from(self) -> PromptFrom:
        """How :meth:`total` knows the prompt's tokens."""
        return "difference" if self._prompt is None and self._how == "prefill" else "told"

    def total(self, told: Tokens) -> Tokens:
        """The tokens of all parts, of which the last one's provider has told ``told``: the prompt once, without the
        answer's beginning that was part of it, and every token of the answer.
        """
        prompt = self._prompt
        if prompt is None:
            prompt = max(0, told.prompt - (self._completion if self._how == "prefill" else 0))
        # Nothing of the prompt can be more than it is, now that the answer's beginning is out of it.
        parts = {name: min(getattr(told, name), prompt) for name in _PARTS}
        return structs.replace(told, prompt=prompt, completion=self._completion + told.completion, **parts)


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and value > 0 else 0


def restart_event(said: Said, error: UpstreamError | None) -> bytes:
    """The event that tells a client to throw away what it has: a chunk without choices, which others pass over."""
    document: dict[str, Any] = {
        "id": said.id,
        "object": "chat.completion.chunk",
        "created": said.created,
        "model": said.model,
        "choices": [],
        "gateway": {"event": "restart", "reason": "reset" if error is None else error.reason},
    }
    return b"data: " + orjson.dumps(document) + b"\n\n"
