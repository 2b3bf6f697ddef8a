"""One answer, token by token, of the real model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.kernel.errors import GatewayError
from gateway.local.generate import Answer, AnswerPlan, Delta, Finish
from gateway.local.native import Cancelled, LoadedModel
from gateway.local.requests import Function, Tool
from gateway.local.sampling import Sampling
from gateway.local.tools import CLOSE, OPEN, CallReader, call_grammar

GREEDY = Sampling(temperature=0)
CITY = {"type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}}, "required": ["city"]}
WEATHER = Tool("function", Function("weather", parameters={**CITY, "additionalProperties": False}))


def plan(model: LoadedModel, text: str, **more: Any) -> AnswerPlan:
    prompt = model.tokenize(text, add_special=False, parse_special=True)
    return AnswerPlan(**{"prompt": prompt, "max_tokens": 40, "sampling": GREEDY, **more})


def run(model: LoadedModel, wanted: AnswerPlan) -> tuple[str, str, Finish]:
    """The plain text, the text of calls, and the finish."""
    events = list(Answer(model, wanted, lambda: False).run())
    finish = events.pop()
    assert isinstance(finish, Finish)
    deltas = [event for event in events if isinstance(event, Delta)]
    assert len(deltas) == len(events)
    plain = "".join(delta.text for delta in deltas if not delta.in_call)
    return plain, "".join(delta.text for delta in deltas if delta.in_call), finish


def test_a_call_opened_freely_is_held_to_the_grammar(model: LoadedModel) -> None:
    # The pattern makes the model open a call; the grammar knows another tool than the pattern shows.
    line = f'Bot: Hi there. {OPEN}\n{{"name": "other", "arguments": {{}}}}\n{CLOSE}\n'
    grammar = call_grammar([WEATHER], several=False)
    wanted = plan(model, line * 6 + "Bot: Hi there.", calls="free", call_grammar=grammar)
    plain, called, finish = run(model, wanted)
    assert plain.strip() == ""
    deltas = CallReader().feed(called)
    assert deltas[0].name == "weather"
    assert json.loads("".join(delta.arguments for delta in deltas))["city"] in ("Rome", "Oslo")
    assert called.endswith(CLOSE)
    assert finish.reason == "stop"


def test_nothing_changes_when_a_prompt_was_evaluated_before(model: LoadedModel) -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 20
    first = run(model, plan(model, text, top_logprobs=1))
    again = run(model, plan(model, text, top_logprobs=1))
    assert again[:2] == first[:2]
    assert again[2].cached >= 128
    other = run(model, plan(model, "Quite another beginning. " + text))
    assert other[2].cached == 0


def test_it_stops_when_nobody_waits(model: LoadedModel) -> None:
    answers = iter([False, False, False, True])
    answer = Answer(model, plan(model, "Once upon a time"), lambda: next(answers))
    with pytest.raises(Cancelled):
        list(answer.run())


def test_evaluating_a_prompt_is_stopped_by_the_flag(model: LoadedModel) -> None:
    prompt = model.tokenize("one two three " * 100, add_special=False, parse_special=False)
    model.abort.set()
    try:
        with pytest.raises(Cancelled):
            model.evaluate(prompt)
    finally:
        model.abort.clear()
    assert model.evaluate(prompt) == 0


def test_a_grammar_that_is_none_is_refused(model: LoadedModel) -> None:
    with pytest.raises(GatewayError, match="cannot be turned into a grammar"):
        Answer(model, plan(model, "x", grammar="root ::= root", grammar_field="f"), lambda: False)


def test_generation_ends_at_the_length_asked_for(model: LoadedModel) -> None:
    _, _, finish = run(model, plan(model, "Once upon a time", max_tokens=5))
    assert (finish.reason, finish.tokens) == ("length", 5)
    _, _, finish = run(model, plan(model, "Once upon a time", max_tokens=0))
    assert (finish.reason, finish.tokens) == ("length", 0)
