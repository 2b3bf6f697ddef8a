"""Anthropic's SDK, Messages."""

from __future__ import annotations

from typing import Any, ClassVar

from anthropic import Anthropic, APIStatusError

from tests.scenarios.protocols.matrix.asks import SCHEMA, Ask, Call, Got, Json, Usage

BUDGET = 2_048
MOST = 900
"""Tokens of an answer that is not read to its end."""


class Messages:
    """See :class:`tests.scenarios.protocols.matrix.asks.Client`."""

    name = "messages"
    ends: ClassVar[Json] = {"stop": "end_turn", "tools": "tool_use", "limit": "max_tokens"}

    def __init__(self, client: Anthropic) -> None:
        self._messages = client.messages

    def ask(self, model: str, ask: Ask) -> Got:
        """One request and its answer."""
        content: list[Json] = [{"type": "text", "text": ask.text}]
        if ask.image is not None:
            content.append({"type": "image", "source": _source(ask.image)})
        asked: Json = {"model": model, "max_tokens": ask.limit, "messages": [{"role": "user", "content": content}]}
        if ask.system is not None:
            asked["system"] = ask.system
        if ask.tools:
            asked["tools"] = [{"name": name, "input_schema": SCHEMA} for name in ask.tools]
        if ask.choice is not None:
            asked["tool_choice"] = {"type": "any"}
        if ask.single:
            asked["tool_choice"] = {"type": "auto", **asked.get("tool_choice", {}), "disable_parallel_tool_use": True}
        if ask.thinks:
            asked["thinking"] = {"type": "enabled", "budget_tokens": BUDGET}
        if ask.temperature is not None:
            asked["extra_body"] = {"temperature": ask.temperature}  # later models take none, nor does their SDK
        return self._send(asked, ask)

    def answer(self, got: Got, results: list[str]) -> Got:
        """Go on with what each tool said that was called."""
        told = [
            {"type": "tool_result", "tool_use_id": call.id, "content": result}
            for call, result in zip(got.calls, results, strict=True)
        ]
        return self._again(got, told)

    def go_on(self, got: Got, text: str) -> Got:
        """Go on with another text."""
        return self._again(got, [{"type": "text", "text": text}])

    def leave(self, model: str, text: str) -> str:
        """Begin a stream, and go after its first piece."""
        messages: Any = [{"role": "user", "content": text}]
        with self._messages.stream(model=model, max_tokens=MOST, messages=messages) as stream:
            return next(stream.text_stream)

    def fault(self, model: str, text: str, stream: bool) -> tuple[int, str]:
        """The status and the message of the error that a request ends in."""
        messages: Any = [{"role": "user", "content": text}]
        try:
            answer: Any = self._messages.create(model=model, max_tokens=MOST, messages=messages, stream=stream)
            list(answer)
        except APIStatusError as error:
            told: Any = error.body
            return error.response.status_code, told["error"]["message"]
        raise AssertionError("no error")

    def _again(self, got: Got, more: list[Json]) -> Got:
        asked = {name: value for name, value in got.asked.items() if name != "tool_choice"}
        turns = [{"role": "assistant", "content": got.turn}, {"role": "user", "content": more}]
        return self._send({**asked, "messages": [*got.asked["messages"], *turns]}, Ask(""))

    def _send(self, asked: Json, ask: Ask) -> Got:
        pieces = 0
        if ask.schema is not None:
            message: Any = self._messages.parse(**asked, output_format=ask.schema)
        elif ask.stream:
            with self._messages.stream(**asked) as stream:
                pieces = sum(event.type == "text" for event in stream)
                message = stream.get_final_message()
        else:
            message = self._messages.create(**asked)
        blocks = message.content
        usage = message.usage
        details = usage.output_tokens_details
        cached = usage.cache_read_input_tokens or 0
        return Got(
            text="".join(block.text for block in blocks if block.type == "text"),
            calls=[Call(block.id, block.name, block.input) for block in blocks if block.type == "tool_use"],
            thoughts="".join(block.thinking for block in blocks if block.type == "thinking"),
            end=message.stop_reason,
            usage=Usage(
                usage.input_tokens + cached + (usage.cache_creation_input_tokens or 0),
                usage.output_tokens,
                cached,
                (details.thinking_tokens or 0) if details is not None else 0,
            ),
            asked=asked,
            turn=[block.to_dict() for block in blocks],
            pieces=pieces,
            parsed=getattr(message, "parsed_output", None),
        )


def _source(url: str) -> Json:
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    kind, _, data = url.removeprefix("data:").partition(";base64,")
    return {"type": "base64", "media_type": kind, "data": data}
