"""One answer, token by token, on the inference thread."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from gateway.local.native import Cancelled, LoadedModel
from gateway.local.sampling import Sampler, Sampling
from gateway.local.text import HeldText
from gateway.local.tools import OPEN

Reason = Literal["stop", "length"]


@dataclass(frozen=True)
class AnswerPlan:
    """Everything that decides one answer.

    ``calls`` says how tool calls may appear: not at all, ``begun`` (the prompt already ends with the opening mark),
    ``free`` (the model may open one at any point; from there ``call_grammar`` holds) or ``ruled`` (``grammar`` itself
    allows the opening mark).
    """

    prompt: list[int]
    max_tokens: int
    sampling: Sampling
    stops: list[str] = field(default_factory=list)
    grammar: str | None = None
    grammar_field: str | None = None
    calls: Literal["none", "begun", "free", "ruled"] = "none"
    call_grammar: str | None = None
    top_logprobs: int | None = None


@dataclass(frozen=True)
class TokenScore:
    """A token's natural-log probability, and the likeliest tokens' at that place."""

    token: bytes
    logprob: float
    top: list[tuple[bytes, float]]


@dataclass(frozen=True)
class Delta:
    """Text that may be shown. ``in_call`` marks text of a tool call, ``tokens`` are those generated so far."""

    text: str
    in_call: bool
    scores: list[TokenScore]
    tokens: int


@dataclass(frozen=True)
class Finish:
    """The end of an answer and the number of tokens generated (the end mark not counted)."""

    reason: Reason
    tokens: int
    cached: int


class Answer:
    """The generation of one answer. ``cancelled`` is asked before every token."""

    def __init__(self, model: LoadedModel, plan: AnswerPlan, cancelled: Callable[[], bool]) -> None:
        self._model = model
        self._plan = plan
        self._cancelled = cancelled
        self._in_call = plan.calls == "begun"
        self._generated: list[int] = []
        self._scores: list[TokenScore] = []
        self._held = HeldText(plan.stops + ([OPEN] if plan.calls in ("free", "ruled") else []))
        self._sampler = Sampler(model, plan.sampling, plan.grammar, plan.grammar_field)

    def run(self) -> Iterator[Delta | Finish]:
        """Yields the text as it comes, then the finish. Raises :class:`Cancelled`."""
        try:
            yield from self._run()
        finally:
            self._sampler.close()

    def _run(self) -> Iterator[Delta | Finish]:
        model, plan = self._model, self._plan
        if self._cancelled():
            raise Cancelled
        cached = model.evaluate(plan.prompt)
        reason: Reason = "length"
        while len(self._generated) < plan.max_tokens:
            if self._cancelled():
                raise Cancelled
            token = self._next_token()
            if model.ends_generation(token):
                reason = "stop"
                break
            self._generated.append(token)
            released = self._held.feed(model.piece(token, special=self._in_call))
            yield from self._show(released.text)
            if released.matched == OPEN and plan.calls in ("free", "ruled"):
                yield from self._open_call(released.rest)
            elif released.matched is not None:
                yield Finish("stop", len(self._generated), cached)
                return
            elif len(self._generated) < plan.max_tokens:
                model.append(token)
        yield from self._show(self._held.finish().text)
        yield Finish(reason, len(self._generated), cached)

    def _next_token(self) -> int:
        if self._plan.top_logprobs is None:
            return self._sampler.sample()
        # The scores are read first: they are the model's own, before temperature, penalties and grammar.
        scores = self._model.logits()
        token = self._sampler.sample()
        if not self._model.ends_generation(token):
            self._scores.append(score_of(self._model, scores, token, self._plan.top_logprobs))
        return token

    def _show(self, text: str) -> Iterator[Delta]:
        if text:
            scores, self._scores = self._scores, []
            yield Delta(text, self._in_call, scores, len(self._generated))

    def _open_call(self, rest: str) -> Iterator[Delta]:
        self._in_call = True
        self._held = HeldText([])
        self._scores = []
        if self._plan.calls == "ruled":
            self._model.append(self._generated[-1])
            yield from self._show(rest)
            return
        # The mark may end in the middle of a token, so the tokens that spell it are taken back and set anew; from
        # there the grammar starts at a token of its own.
        kept = self._before_mark()
        mark = self._model.tokenize(f"{OPEN}\n", add_special=False, parse_special=True)
        self._generated = [*kept, *mark]
        self._model.evaluate([*self._plan.prompt, *self._generated])
        self._sampler.close()
        sampling = self._plan.sampling
        seed = None if sampling.seed is None else sampling.seed + 1
        self._sampler = Sampler(self._model, replace(sampling, seed=seed), self._plan.call_grammar, "tools")

    def _before_mark(self) -> list[int]:
        pieces = [self._model.piece(token) for token in self._generated]
        whole = b"".join(pieces)
        limit, length, kept = whole.rfind(OPEN.encode()), 0, 0
        while kept < len(pieces) and length + len(pieces[kept]) <= limit:
            length += len(pieces[kept])
            kept += 1
        return self._generated[:kept]


def score_of(model: LoadedModel, scores: Any, token: int, top: int) -> TokenScore:
    """The log probability of ``token`` among raw ``scores``, with the ``top`` likeliest."""
    numpy = importlib.import_module("numpy")
    highest = float(scores.max())
    total = highest + math.log(float(numpy.exp(scores - highest).sum()))
    best = numpy.argpartition(scores, -top)[-top:] if top else []
    ranked = sorted(((int(index), float(scores[index]) - total) for index in best), key=lambda pair: -pair[1])
    listed = [(model.piece(index, special=True), logprob) for index, logprob in ranked]
    return TokenScore(model.piece(token, special=True), float(scores[token]) - total, listed)
