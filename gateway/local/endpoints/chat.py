"""``POST /v1/chat/completions``. Shapes: https://platform.openai.com/docs/api-reference/chat"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.local import grammar as gbnf
from gateway.local.catalog import recommended_sampling
from gateway.local.endpoints.common import (
    EACH_USAGE,
    Head,
    Usage,
    check_common,
    check_length,
    fit,
    room,
    scores_for_chat,
)
from gateway.local.engine import Engine
from gateway.local.generate import Answer, AnswerPlan, Finish, TokenScore
from gateway.local.http import Exchange
from gateway.local.requests import ChatRequest, NamedTool, invalid, parse, stops_of
from gateway.local.residency import Resident
from gateway.local.sampling import sampling_of
from gateway.local.scheduler import Job
from gateway.local.tools import OPEN, CallDelta, CallReader, call_grammar, call_or_json_grammar, chosen_tools


@dataclass(frozen=True)
class Piece:
    """Something to show of choice ``index``: text, pieces of tool calls, or the finish."""

    index: int
    text: str = ""
    calls: tuple[CallDelta, ...] = ()
    scores: tuple[TokenScore, ...] = ()
    finish: str | None = None


@dataclass
class Choice:
    """One choice of a whole answer, put together from its pieces."""

    text: str = ""
    names: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    scores: list[TokenScore] = field(default_factory=list)
    finish: str = "stop"

    def add(self, piece: Piece) -> None:
        """Take in a piece."""
        self.text += piece.text
        self.scores += piece.scores
        self.finish = piece.finish or self.finish
        for call in piece.calls:
            if call.name is not None:
                self.names.append(call.name)
                self.arguments.append("")
            self.arguments[call.index] += call.arguments

    def render(self, index: int, *, logprobs: bool) -> dict[str, Any]:
        """OpenAI's choice object."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text, "refusal": None}
        if self.names:
            message["content"] = self.text.strip() or None
            message["tool_calls"] = [
                {"id": _call_id(), "type": "function", "function": {"name": name, "arguments": arguments}}
                for name, arguments in zip(self.names, self.arguments, strict=True)
            ]
        scores = scores_for_chat(self.scores) if logprobs else None
        return {"index": index, "message": message, "logprobs": scores, "finish_reason": self.finish}


class ChatWork:
    """The work of one chat request on the inference thread; :attr:`usage` is complete when it ends."""

    def __init__(self, request: ChatRequest) -> None:
        check_common(request)
        self._request = request
        self._stops = stops_of(request.stop)
        self._tools = chosen_tools(request.tools or [], request.tool_choice)
        self._format = request.response_format
        self.usage = Usage()
        _check(request)

    def __call__(self, resident: Resident, job: Job) -> Iterator[Piece]:
        plan = self._plan(resident)
        self.usage.prompt = len(plan.prompt)
        for index in range(self._request.n or 1):
            seed = self._request.seed
            sampling = replace(plan.sampling, seed=None if seed is None else seed + index)
            answer = Answer(resident.model, replace(plan, sampling=sampling), lambda: job.cancelled)
            yield from self._pieces(index, answer)

    def _pieces(self, index: int, answer: Answer) -> Iterator[Piece]:
        reader = CallReader()
        before = self.usage.completion
        for event in answer.run():
            self.usage.completion = before + event.tokens
            if isinstance(event, Finish):
                self.usage.cached = max(self.usage.cached, event.cached) if index == 0 else self.usage.cached
                called = reader.count > 0 and event.reason == "stop"
                yield Piece(index, finish="tool_calls" if called else event.reason)
            elif event.in_call:
                yield Piece(index, calls=tuple(reader.feed(event.text)))
            else:
                yield Piece(index, event.text, scores=tuple(event.scores))

    def _plan(self, resident: Resident) -> AnswerPlan:
        request, choice = self._request, self._request.tool_choice
        active = [] if choice == "none" else self._tools
        text = resident.template.render(request.messages, active or None)
        forced = bool(active) and (choice == "required" or isinstance(choice, NamedTool))
        if forced:
            text += f"{OPEN}\n"
        prompt = fit(resident.model, text, "messages", add_special=False)
        asked = request.max_completion_tokens if request.max_completion_tokens is not None else request.max_tokens
        advised = recommended_sampling(resident.spec.reference)
        plan = AnswerPlan(
            prompt=check_length(resident.model, prompt, "messages"),
            max_tokens=room(resident, prompt, asked),
            sampling=sampling_of(request, advised),
            stops=self._stops,
            top_logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        )
        return self._with_tools(plan, forced=forced) if active else self._with_format(plan)

    def _with_tools(self, plan: AnswerPlan, *, forced: bool) -> AnswerPlan:
        named = isinstance(self._request.tool_choice, NamedTool)
        several = self._request.parallel_tool_calls is not False and not named
        calls = call_grammar(self._tools, several=several)
        if forced:
            return replace(plan, calls="begun", grammar=calls, grammar_field="tools", stops=[])
        schema, strict = self._schema()
        if schema is None:
            return replace(plan, calls="free", call_grammar=calls)
        ruled = call_or_json_grammar(self._tools, schema, several=several, strict=strict)
        return replace(plan, calls="ruled", grammar=ruled, grammar_field="response_format")

    def _with_format(self, plan: AnswerPlan) -> AnswerPlan:
        schema, strict = self._schema()
        if schema is None:
            return plan
        rules = gbnf.from_schema(schema, "response_format.json_schema.schema", strict=strict)
        return replace(plan, grammar=rules, grammar_field="response_format.json_schema.schema")

    def _schema(self) -> tuple[Any, bool]:
        if self._format is None or self._format.type == "text":
            return None, False
        if self._format.type == "json_object" or self._format.json_schema is None:
            return {"type": "object"}, False
        schema = self._format.json_schema.schema
        return ({"type": "object"} if schema is None else schema), bool(self._format.json_schema.strict)


async def chat(engine: Engine, exchange: Exchange) -> None:
    """Answer a chat request, whole or as a stream."""
    request = parse(await exchange.body(engine.settings.max_body_bytes), ChatRequest)
    work = ChatWork(request)
    version = engine.binding.version
    if request.stream:
        await _stream(
            engine, exchange, request, work, Head("chatcmpl", "chat.completion.chunk", request.model, version)
        )
        return
    choices = [Choice() for _ in range(request.n or 1)]
    async for piece in engine.stream(exchange, request.model, work):
        choices[piece.index].add(piece)
    rendered = [choice.render(index, logprobs=bool(request.logprobs)) for index, choice in enumerate(choices)]
    head = Head("chatcmpl", "chat.completion", request.model, version)
    await exchange.json(head.render(choices=rendered, usage=work.usage.render()))


async def _stream(engine: Engine, exchange: Exchange, request: ChatRequest, work: ChatWork, head: Head) -> None:
    with_usage = request.stream_options is not None and request.stream_options.include_usage
    tail: dict[str, Any] = {"usage": None} if with_usage else {}
    each = exchange.header(EACH_USAGE) is not None
    begun: set[int] = set()

    async def chunk(index: int, delta: dict[str, Any], scores: Any = None, finish: str | None = None) -> None:
        choice = {"index": index, "delta": delta, "logprobs": scores, "finish_reason": finish}
        await exchange.event(head.render(choices=[choice], **tail), work.usage.render() if each else None)

    async for piece in engine.stream(exchange, request.model, work):
        if piece.index not in begun:
            begun.add(piece.index)
            await chunk(piece.index, {"role": "assistant", "content": "", "refusal": None})
        if piece.text:
            scores = scores_for_chat(list(piece.scores)) if request.logprobs else None
            await chunk(piece.index, {"content": piece.text}, scores)
        for call in piece.calls:
            await chunk(piece.index, {"tool_calls": [_call_delta(call)]})
        if piece.finish:
            await chunk(piece.index, {}, finish=piece.finish)
    if with_usage:
        await exchange.event(head.render(choices=[], usage=work.usage.render()))
    await exchange.event(b"[DONE]")
    await exchange.end()


def _call_delta(call: CallDelta) -> dict[str, Any]:
    if call.name is None:
        return {"index": call.index, "function": {"arguments": call.arguments}}
    function = {"name": call.name, "arguments": call.arguments}
    return {"index": call.index, "id": _call_id(), "type": "function", "function": function}


def _call_id() -> str:
    return "call_" + secrets.token_hex(12)


def _check(request: ChatRequest) -> None:
    if request.max_tokens == 0:
        raise invalid("Expected an integer >= 1.", "max_tokens")
    if request.top_logprobs is not None and not request.logprobs:
        raise invalid("Expected 'logprobs' to be true when 'top_logprobs' is given.", "top_logprobs")
    if request.tool_choice not in (None, "none") and not request.tools:
        raise invalid("Expected 'tools' when 'tool_choice' is given.", "tool_choice")
    shape = request.response_format
    if shape is not None and shape.type == "json_schema" and shape.json_schema is None:
        raise invalid("Expected the schema.", "response_format.json_schema")
    names = [tool.function.name for tool in request.tools or []]
    if len(names) != len(set(names)):
        raise invalid("Expected every tool to have a name of its own.", "tools")
