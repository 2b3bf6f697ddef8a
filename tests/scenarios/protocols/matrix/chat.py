"""OpenAI's SDK, Chat Completions."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from openai import APIError, APIStatusError, OpenAI

from tests.scenarios.protocols.matrix.asks import SCHEMA, Ask, Call, Got, Json, Usage


class Chat:
    """See :class:`tests.scenarios.protocols.matrix.asks.Client`."""

    name = "chat"
    ends: ClassVar[Json] = {"stop": "stop", "tools": "tool_calls", "limit": "length"}

    def __init__(self, client: OpenAI) -> None:
        self._completions = client.chat.completions

    def ask(self, model: str, ask: Ask) -> Got:
        """One request and its answer."""
        content: Any = ask.text
        if ask.image is not None:
            image = {"type": "image_url", "image_url": {"url": ask.image}}
            content = [{"type": "text", "text": ask.text}, image]
        messages: list[Json] = [{"role": "system", "content": ask.system}] if ask.system else []
        asked: Json = {
            "model": model,
            "messages": [*messages, {"role": "user", "content": content}],
            "max_completion_tokens": ask.limit,
        }
        if ask.tools:
            asked["tools"] = [{"type": "function", "function": {"name": n, "parameters": SCHEMA}} for n in ask.tools]
        if ask.choice is not None:
            asked["tool_choice"] = ask.choice
        if ask.single:
            asked["parallel_tool_calls"] = False
        if ask.thinks:
            asked["reasoning_effort"] = "high"
        if ask.temperature is not None:
            asked["temperature"] = ask.temperature
        return self._send(asked, ask)

    def answer(self, got: Got, results: list[str]) -> Got:
        """Go on with what each tool said that was called."""
        told = [
            {"role": "tool", "tool_call_id": call.id, "content": result}
            for call, result in zip(got.calls, results, strict=True)
        ]
        return self._again(got, told)

    def go_on(self, got: Got, text: str) -> Got:
        """Go on with another text."""
        return self._again(got, [{"role": "user", "content": text}])

    def leave(self, model: str, text: str) -> str:
        """Begin a stream, and go after its first piece."""
        messages: Any = [{"role": "user", "content": text}]
        with self._completions.create(model=model, messages=messages, stream=True) as stream:
            return next(piece for chunk in stream for choice in chunk.choices if (piece := choice.delta.content))

    def fault(self, model: str, text: str, stream: bool) -> tuple[int, str]:
        """The status and the message of the error that a request ends in."""
        messages: Any = [{"role": "user", "content": text}]
        try:
            answer: Any = self._completions.create(model=model, messages=messages, stream=stream)
            list(answer)
        except APIStatusError as error:
            told: Any = error.body
            return error.status_code, told["message"]
        except APIError as error:
            return 200, error.message
        raise AssertionError("no error")

    def _again(self, got: Got, more: list[Json]) -> Got:
        asked = {name: value for name, value in got.asked.items() if name != "tool_choice"}
        return self._send({**asked, "messages": [*got.asked["messages"], *got.turn, *more]}, Ask(""))

    def _send(self, asked: Json, ask: Ask) -> Got:
        pieces = 0
        if ask.schema is not None:
            completion: Any = self._completions.parse(**asked, response_format=ask.schema)
        elif ask.stream:
            with self._completions.stream(**asked, stream_options={"include_usage": True}) as stream:
                pieces = sum(event.type == "content.delta" for event in stream)
                completion = stream.get_final_completion()
        else:
            completion = self._completions.create(**asked)
        (choice,) = completion.choices
        message = choice.message
        calls = [
            Call(call.id, call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ()
        ]
        turn = message.model_dump(exclude_none=True, exclude={"parsed"})
        for call in turn.get("tool_calls", ()):
            call["function"].pop("parsed_arguments", None)
        return Got(
            text=message.content or "",
            calls=calls,
            thoughts=getattr(message, "reasoning_content", None) or "",
            end=choice.finish_reason,
            usage=_usage(completion.usage),
            asked=asked,
            turn=[turn],
            pieces=pieces,
            parsed=getattr(message, "parsed", None),
        )


def _usage(usage: Any) -> Usage:
    read, made = usage.prompt_tokens_details, usage.completion_tokens_details
    return Usage(
        usage.prompt_tokens,
        usage.completion_tokens,
        (read.cached_tokens or 0) if read is not None else 0,
        (made.reasoning_tokens or 0) if made is not None else 0,
    )
