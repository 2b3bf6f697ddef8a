"""``POST /v1/completions``. Shapes: https://platform.openai.com/docs/api-reference/completions"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.local.catalog import recommended_sampling
from gateway.local.endpoints.common import EACH_USAGE, Head, Usage, check_common, check_length, fit, room
from gateway.local.engine import Engine
from gateway.local.generate import Answer, AnswerPlan, Finish, TokenScore
from gateway.local.http import Exchange
from gateway.local.requests import CompletionRequest, invalid, parse, prompts_of, stops_of
from gateway.local.residency import Resident
from gateway.local.sampling import sampling_of
from gateway.local.scheduler import Job

_DEFAULT_MAX_TOKENS = 16  # OpenAI's


@dataclass(frozen=True)
class Piece:
    """Text of choice ``index``, or its finish."""

    index: int
    text: str = ""
    scores: tuple[TokenScore, ...] = ()
    finish: str | None = None


@dataclass
class Choice:
    """One choice put together. ``length`` is the characters so far, from which text offsets count."""

    text: str = ""
    scores: list[TokenScore] = field(default_factory=list)
    finish: str = "stop"


class CompletionWork:
    """The work of one completion request; :attr:`usage` is complete when it ends."""

    def __init__(self, request: CompletionRequest) -> None:
        check_common(request)
        if request.suffix:
            raise invalid("Expected no suffix: the local model does not fill in the middle.", "suffix")
        if request.best_of not in (None, request.n or 1):
            raise invalid("Expected 'best_of' to be left out, or equal to 'n'.", "best_of")
        if request.echo and request.logprobs is not None:
            raise invalid("Expected 'logprobs' to be left out when 'echo' is true.", "logprobs")
        self._request = request
        self._stops = stops_of(request.stop)
        self.prompts = prompts_of(request.prompt, "prompt")
        self.usage = Usage()

    def __call__(self, resident: Resident, job: Job) -> Iterator[Piece]:
        request, model = self._request, resident.model
        sampling = sampling_of(request, recommended_sampling(resident.spec.reference))
        prompts = [
            fit(model, prompt, "prompt", add_special=True)
            if isinstance(prompt, str)
            else check_length(model, prompt, "prompt")
            for prompt in self.prompts
        ]
        asked = _DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens
        index = 0
        for prompt in prompts:
            self.usage.prompt += len(prompt)
            for number in range(request.n or 1):
                seed = None if request.seed is None else request.seed + number
                plan = AnswerPlan(
                    prompt=prompt,
                    max_tokens=room(resident, prompt, asked),
                    sampling=replace(sampling, seed=seed),
                    stops=self._stops,
                    top_logprobs=request.logprobs,
                )
                if request.echo:
                    text = b"".join(model.piece(token, special=True) for token in prompt)
                    yield Piece(index, text.decode(errors="replace"))
                yield from self._pieces(index, Answer(model, plan, lambda: job.cancelled), first=number == 0)
                index += 1

    def _pieces(self, index: int, answer: Answer, *, first: bool) -> Iterator[Piece]:
        before = self.usage.completion
        for event in answer.run():
            self.usage.completion = before + event.tokens
            if isinstance(event, Finish):
                self.usage.cached += event.cached if first else 0
                yield Piece(index, finish=event.reason)
            else:
                yield Piece(index, event.text, tuple(event.scores))


async def completions(engine: Engine, exchange: Exchange) -> None:
    """Answer a completion request, whole or as a stream."""
    request = parse(await exchange.body(engine.settings.max_body_bytes), CompletionRequest)
    work = CompletionWork(request)
    head = Head("cmpl", "text_completion", request.model, engine.binding.version)
    if request.stream:
        await _stream(engine, exchange, request, work, head)
        return
    choices = [Choice() for _ in range(len(work.prompts) * (request.n or 1))]
    async for piece in engine.stream(exchange, request.model, work):
        choice = choices[piece.index]
        choice.text += piece.text
        choice.scores += piece.scores
        choice.finish = piece.finish or choice.finish
    rendered = [
        {
            "text": choice.text,
            "index": index,
            "logprobs": None if request.logprobs is None else scores_for_completion(choice.scores, 0),
            "finish_reason": choice.finish,
        }
        for index, choice in enumerate(choices)
    ]
    await exchange.json(head.render(choices=rendered, usage=work.usage.render()))


async def _stream(
    engine: Engine, exchange: Exchange, request: CompletionRequest, work: CompletionWork, head: Head
) -> None:
    with_usage = request.stream_options is not None and request.stream_options.include_usage
    tail: dict[str, Any] = {"usage": None} if with_usage else {}
    each = exchange.header(EACH_USAGE) is not None
    offsets: dict[int, int] = {}
    async for piece in engine.stream(exchange, request.model, work):
        offset = offsets.get(piece.index, 0)
        scores = scores_for_completion(list(piece.scores), offset) if piece.scores else None
        offsets[piece.index] = offset + len(piece.text)
        choice = {"text": piece.text, "index": piece.index, "logprobs": scores, "finish_reason": piece.finish}
        await exchange.event(head.render(choices=[choice], **tail), work.usage.render() if each else None)
    if with_usage:
        await exchange.event(head.render(choices=[], usage=work.usage.render()))
    await exchange.event(b"[DONE]")
    await exchange.end()


def scores_for_completion(scores: list[TokenScore], offset: int) -> dict[str, Any]:
    """The legacy ``logprobs`` object; ``offset`` is the character at which the first token begins."""
    offsets = []
    for score in scores:
        offsets.append(offset)
        offset += len(score.token.decode(errors="replace"))
    return {
        "tokens": [score.token.decode(errors="replace") for score in scores],
        "token_logprobs": [score.logprob for score in scores],
        "top_logprobs": [{token.decode(errors="replace"): value for token, value in score.top} for score in scores],
        "text_offset": offsets,
    }
