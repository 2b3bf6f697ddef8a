"""OpenAI's SDK, Responses."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from openai import APIError, APIStatusError, OpenAI

from tests.scenarios.protocols.matrix.asks import SCHEMA, Ask, Call, Got, Json, Usage


class Responses:
    """See :class:`tests.scenarios.protocols.matrix.asks.Client`."""

    name = "responses"
    ends: ClassVar[Json] = {"stop": "completed", "tools": "completed", "limit": "incomplete"}

    def __init__(self, client: OpenAI) -> None:
        self._responses = client.responses

    def ask(self, model: str, ask: Ask) -> Got:
        """One request and its answer."""
        content: list[Json] = [{"type": "input_text", "text": ask.text}]
        if ask.image is not None:
            content.append({"type": "input_image", "detail": "auto", "image_url": ask.image})
        asked: Json = {
            "model": model,
            "input": [{"role": "user", "content": content}],
            "max_output_tokens": ask.limit,
            "store": False,
        }
        if ask.system is not None:
            asked["instructions"] = ask.system
        if ask.tools:
            asked["tools"] = [{"type": "function", "name": n, "parameters": SCHEMA, "strict": True} for n in ask.tools]
        if ask.choice is not None:
            asked["tool_choice"] = ask.choice
        if ask.single:
            asked["parallel_tool_calls"] = False
        if ask.thinks:
            asked["reasoning"] = {"effort": "high", "summary": "auto"}
            asked["include"] = ["reasoning.encrypted_content"]
        if ask.temperature is not None:
            asked["temperature"] = ask.temperature
        return self._send(asked, ask)

    def answer(self, got: Got, results: list[str]) -> Got:
        """Go on with what each tool said that was called."""
        told = [
            {"type": "function_call_output", "call_id": call.id, "output": result}
            for call, result in zip(got.calls, results, strict=True)
        ]
        return self._again(got, told)

    def go_on(self, got: Got, text: str) -> Got:
        """Go on with another text."""
        return self._again(got, [{"role": "user", "content": text}])

    def leave(self, model: str, text: str) -> str:
        """Begin a stream, and go after its first piece."""
        with self._responses.create(model=model, input=text, stream=True, store=False) as stream:
            return next(event.delta for event in stream if event.type == "response.output_text.delta")

    def fault(self, model: str, text: str, stream: bool) -> tuple[int, str]:
        """The status and the message of the error that a request ends in."""
        try:
            answer: Any = self._responses.create(model=model, input=text, stream=stream, store=False)
            events = list(answer)
        except APIStatusError as error:
            told: Any = error.body
            return error.status_code, told["message"]
        except APIError as error:
            return 200, error.message
        if events[-1].type == "error":  # as it is told by who has Responses itself
            return 200, events[-1].message
        assert events[-1].type == "response.failed", events[-1]
        return 200, events[-1].response.error.message

    def _again(self, got: Got, more: list[Json]) -> Got:
        asked = {name: value for name, value in got.asked.items() if name != "tool_choice"}
        return self._send({**asked, "input": [*got.asked["input"], *got.turn, *more]}, Ask(""))

    def _send(self, asked: Json, ask: Ask) -> Got:
        pieces = 0
        if ask.schema is not None:
            response: Any = self._responses.parse(**asked, text_format=ask.schema)
        elif ask.stream:
            with self._responses.stream(**asked) as stream:
                pieces = sum(event.type == "response.output_text.delta" for event in stream)
                response = stream.get_final_response()
        else:
            response = self._responses.create(**asked)
        calls = [
            Call(item.call_id, item.name, json.loads(item.arguments))
            for item in response.output
            if item.type == "function_call"
        ]
        thoughts = [part.text for item in response.output if item.type == "reasoning" for part in item.summary]
        turn = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in response.output]
        usage = response.usage
        return Got(
            text=response.output_text,
            calls=calls,
            thoughts="".join(thoughts),
            end=response.status,
            usage=Usage(
                usage.input_tokens,
                usage.output_tokens,
                usage.input_tokens_details.cached_tokens,
                usage.output_tokens_details.reasoning_tokens,
            ),
            asked=asked,
            turn=turn,
            pieces=pieces,
            parsed=getattr(response, "output_parsed", None),
        )
