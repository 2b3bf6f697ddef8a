"""What a cell of the model on this machine must show.

It is a real one, and says what it likes: what is looked at is the form of an answer, and what the engine was asked.
Each question is the same in every run, and nothing is drawn, so that the answer is too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.scenarios.protocols.matrix.asks import Ask, Got, Place
from tests.scenarios.protocols.matrix.features import PICTURE, PIXEL, TOOLS, Check
from tests.scenarios.protocols.matrix.stand import Cell
from tests.support.fake_vendors.heard import Heard
from tests.support.overheard import Overheard

LIMIT = 64
"""Tokens that leave an answer room to end by itself."""
SHORT = 8
"""Tokens of one that does not."""
LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
THOUGHTS = ("reasoning_effort", "reasoning.effort", "thinking")


def _heard(cell: Cell) -> Heard:
    """What the engine was asked last."""
    return cell.about.heard(cell.fake.recording.requests[-1].json)


def _whole_and_streamed(cell: Cell, ask: Ask) -> tuple[Got, Got]:
    whole = cell.client.ask(cell.kind, ask)
    streamed = cell.client.ask(cell.kind, replace(ask, stream=True))
    assert (streamed.text, streamed.thoughts, streamed.end) == (whole.text, "", whole.end)
    assert [call[1:] for call in streamed.calls] == [call[1:] for call in whole.calls]
    assert streamed.usage[:2] == whole.usage[:2]
    return whole, streamed


def plain(cell: Cell) -> None:
    """A system prompt, sampling and a limit, which cuts it off."""
    text = "Grüße 👋! Write about the sea."
    got = cell.client.ask(cell.kind, Ask(text, system="Be verbose.", temperature=0.0, limit=SHORT))
    assert got.text
    assert (got.end, got.calls) == (cell.client.ends["limit"], [])
    heard = _heard(cell)
    assert (heard.system, heard.texts) == ("Be verbose.", (text,))
    assert (heard.limit, heard.temperature) == (SHORT, 0.0)
    assert got.usage.prompt > got.usage.cached >= 0
    assert got.usage.completion == SHORT
    assert cell.client.go_on(got, "And now?").text  # as briefly
    assert _heard(cell).texts == (text, "And now?")


def stream(cell: Cell) -> None:
    """The same answer in pieces."""
    whole, streamed = _whole_and_streamed(cell, Ask("Say hello.", temperature=0.0, limit=LIMIT))
    assert whole.text
    assert whole.end == cell.client.ends["stop"]
    assert streamed.pieces > 1
    assert cell.fake.recording.requests[-1].json["stream"] is True


def tools(cell: Cell) -> None:
    """A tool that must be called, by grammar, and what it said. The tools are those of the next cell, which the engine
    needs not read again.
    """
    ask = Ask("Weather in Rome?", tools=TOOLS, choice="required", single=True, temperature=0.0, limit=LIMIT)
    answers = _whole_and_streamed(cell, ask)
    heard = _heard(cell)
    assert (heard.tools, heard.choice, heard.single) == (TOOLS, "required", True)
    for got in answers:
        assert [call.name for call in got.calls] == ["weather"]
        _are_calls(got, cell)
    assert cell.client.answer(_briefly(answers[1]), ["sunny"]).usage.completion <= SHORT
    heard = _heard(cell)
    assert (heard.results, heard.choice) == (("sunny",), "auto")


def parallel(cell: Cell) -> None:
    """Calls of two tools in one turn, and their results together."""
    ask = Ask("What are the weather and the time in Rome?", tools=TOOLS, choice="required", temperature=0.0)
    got = cell.client.ask(cell.kind, replace(ask, limit=2 * LIMIT, stream=True))
    heard = _heard(cell)
    assert (heard.tools, heard.choice, heard.single) == (TOOLS, "required", False)
    assert {call.name for call in got.calls} == set(TOOLS)
    _are_calls(got, cell)
    results = [f"result {number}" for number in range(len(got.calls))]
    assert cell.client.answer(_briefly(got), results).usage.completion <= SHORT
    assert _heard(cell).results == tuple(results)


def _briefly(got: Got) -> Got:
    """An answer that is gone on with in few tokens."""
    limits = {name: SHORT for name in got.asked if name in LIMITS}
    return replace(got, asked={**got.asked, **limits})


def _are_calls(got: Got, cell: Cell) -> None:
    assert got.end == cell.client.ends["tools"]
    assert len({call.id for call in got.calls}) == len(got.calls)
    for call in got.calls:
        assert list(call.arguments) == ["city"]
        assert isinstance(call.arguments["city"], str)


def vision(cell: Cell) -> None:
    """An image is refused."""
    for image in (PIXEL, PICTURE):
        cell.refuses(Ask("What is this?", image=image), "messages", "input")


def structured(cell: Cell) -> None:
    """An answer by a JSON schema, which a grammar holds the model to."""
    got = cell.client.ask(cell.kind, Ask("Name a city.", schema=Place, temperature=0.0, limit=LIMIT))
    assert isinstance(got.parsed, Place)
    assert got.parsed.city
    assert got.end == cell.client.ends["stop"]
    schema = _heard(cell).schema
    assert schema is not None
    assert schema["required"] == ["city"]


def reasoning(cell: Cell) -> None:
    """An effort is refused."""
    cell.refuses(Ask("How many?", thinks=True, limit=LIMIT), *THOUGHTS)


def abort(cell: Cell) -> None:
    """A client that goes within a stream: the model stops."""
    assert isinstance(cell.fake, Overheard)
    assert cell.client.leave(cell.kind, "Count from one to a thousand.")
    cell.fake.recording.wait_closed(cell.fake.recording.requests[-1], timeout=30)
    cell.fake.wait_idle()


def error(cell: Cell) -> None:
    """A refusal before an answer, in the client's own words, and an error within a stream."""
    for streamed in (False, True):
        status, message = cell.client.fault(cell.kind, "word " * 2_000, streamed)
        assert status == 400
        assert "1024 tokens" in message
    status, message = cell.client.fault(cell.kind, f"Say hello, then {Overheard.CUT}.", True)
    assert status == 200
    assert "stream" in message, message


OF_LOCAL_MODELS: Final[dict[str, Check]] = {
    "plain": plain,
    "stream": stream,
    "tools": tools,
    "parallel tools": parallel,
    "vision": vision,
    "structured output": structured,
    "reasoning": reasoning,
    "abort": abort,
    "error": error,
}
