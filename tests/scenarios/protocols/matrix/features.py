"""What a cell of the matrix must show: what the client got, and what the vendor was asked.

A limit of the vendor's API (:mod:`tests.scenarios.protocols.matrix.limits`) is checked as strictly as what it can do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.scenarios.material import marker
from tests.scenarios.protocols.matrix.asks import LIMIT, Ask, Got, Place
from tests.scenarios.protocols.matrix.stand import Cell
from tests.support.fake_vendors import FakeVendors
from tests.support.fake_vendors.said import CACHED, COMPLETION, PROMPT

PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
SIGNATURE = "c2lnbmVk"
"""Gemini's, of its calls."""
PICTURE = "https://example.com/picture.png"
ARGUMENTS = {"city": "Rome"}
TOOLS = ("weather", "time")
NO_PARALLEL = ("parallel_tool_calls", "tool_choice.disable_parallel_tool_use")

Check = Callable[[Cell], None]


def _whole_and_streamed(cell: Cell, ask: Ask) -> tuple[Got, Got]:
    whole = cell.client.ask(cell.kind, ask)
    streamed = cell.client.ask(cell.kind, Ask(**{**ask.__dict__, "stream": True}))
    assert (streamed.text, streamed.thoughts, streamed.end) == (whole.text, whole.thoughts, whole.end)
    assert [call[1:] for call in streamed.calls] == [call[1:] for call in whole.calls]
    assert streamed.usage == whole.usage
    return whole, streamed


def plain(cell: Cell) -> None:
    """A system prompt, sampling and a limit."""
    text = marker()
    got = cell.client.ask(cell.kind, Ask(f"Grüß {text} 👋", system="Be brief.", temperature=0.5))
    assert f"Grüß {text} 👋" in got.text
    assert got.end == cell.client.ends["stop"]
    assert got.calls == []
    heard = cell.heard(text)
    assert (heard.system, heard.texts) == ("Be brief.", (f"Grüß {text} 👋",))
    assert (heard.limit, heard.temperature) == (LIMIT, 0.5)
    if isinstance(cell.fake, FakeVendors):
        assert got.usage[:3] == (PROMPT, COMPLETION, CACHED)
    assert got.usage.prompt > got.usage.cached >= 0
    assert got.usage.completion > 0
    again = marker()
    assert again in cell.client.go_on(got, again).text
    assert cell.heard(again).texts == (f"Grüß {text} 👋", again)


def stream(cell: Cell) -> None:
    """The same answer in pieces."""
    text = marker()
    _, streamed = _whole_and_streamed(cell, Ask(f"{text} one two three"))
    assert f"{text} one two three" in streamed.text
    assert streamed.pieces > 1
    request = cell.request(text)
    assert request.json.get("stream") is True or "stream" in request.path.lower()


def tools(cell: Cell) -> None:
    """A tool that must be called, and what it said."""
    text = marker()
    whole, streamed = _whole_and_streamed(cell, Ask(f"{text} weather city=Rome", tools=TOOLS[:1], choice="required"))
    heard = cell.heard(text)
    assert (heard.tools, heard.choice) == (TOOLS[:1], "required")
    for got in (whole, streamed):
        assert [call[1:] for call in got.calls] == [("weather", ARGUMENTS)]
        assert got.end == cell.client.ends["tools"]
        result = marker()
        last = cell.client.answer(got, [result])
        assert result in last.text
        assert last.end == cell.client.ends["stop"]
        heard = cell.heard(result)
        assert (heard.results, heard.choice) == ((result,), "auto")
        assert heard.signatures == ((SIGNATURE,) if cell.about.signs == "calls" else ())


def parallel(cell: Cell) -> None:
    """Two calls in one turn, and their results together; then at most one."""
    text = marker()
    whole, streamed = _whole_and_streamed(cell, Ask(f"{text} weather time city=Rome", tools=TOOLS))
    for got in (whole, streamed):
        assert [call[1:] for call in got.calls] == [("weather", ARGUMENTS), ("time", ARGUMENTS)]
        assert len({call.id for call in got.calls}) == 2
        results = [marker(), marker()]
        last = cell.client.answer(got, results)
        assert last.text.index(results[0]) < last.text.index(results[1])
        assert cell.heard(results[1]).results == tuple(results)
    one = Ask(f"{marker()} weather time city=Rome", tools=TOOLS, single=True)
    if cell.has("single"):
        cell.refuses(one, *NO_PARALLEL)
        return
    assert [call.name for call in cell.client.ask(cell.kind, one).calls] == ["weather"]
    assert cell.heard(one.text).single


def vision(cell: Cell) -> None:
    """An image as data, and one by its address."""
    text = marker()
    got = cell.client.ask(cell.kind, Ask(text, image=PIXEL))
    assert text in got.text
    heard = cell.heard(text)
    assert (heard.texts, heard.images) == ((text,), (PIXEL,))
    far = Ask(marker(), image=PICTURE)
    if cell.has("image url"):
        cell.refuses(far, "messages.content.image_url", "messages", "input")
        return
    assert far.text in cell.client.ask(cell.kind, far).text
    assert cell.heard(far.text).images == (PICTURE,)


def structured(cell: Cell) -> None:
    """An answer by a JSON schema, as the SDK reads it."""
    text = marker()
    got = cell.client.ask(cell.kind, Ask(f"{text} city=Rome", schema=Place))
    assert got.parsed == Place(city="Rome")
    schema = cell.heard(text).schema
    assert schema is not None
    assert schema["properties"]["city"]["type"] == "string"
    assert schema["required"] == ["city"]


def reasoning(cell: Cell) -> None:
    """Thoughts, and those that a vendor signed once more in the next turn."""
    text = f"{marker()} secretly"  # Anthropic's fake thinks a thought of its own more
    whole, streamed = _whole_and_streamed(cell, Ask(text, thinks=True))
    assert cell.heard(text).thinks
    assert text in whole.text
    if cell.has("hidden") or cell.has("hidden from others"):
        assert whole.thoughts == ""
        assert whole.usage.thoughts > 0
        return
    assert whole.thoughts
    assert whole.thoughts not in whole.text
    for got in (whole, streamed):
        more = marker()
        assert more in cell.client.go_on(got, more).text
        heard = cell.heard(more)
        assert heard.texts == (text, more)
        if cell.has("unsigned") or cell.has("text unsigned"):
            assert heard.signatures == ()
        else:
            assert len(heard.signatures) == 1
            assert heard.signatures[0]


def abort(cell: Cell) -> None:
    """A client that goes within a stream: the vendor is left too."""
    text = marker()
    assert cell.client.leave(f"{cell.kind}-endless", text)
    request = cell.request(text)
    cell.fake.recording.wait_closed(request, timeout=30)


def error(cell: Cell) -> None:
    """A refusal before an answer, in the client's own words, and an error within a stream."""
    for streamed in (False, True):
        status, message = cell.client.fault(f"{cell.kind}-fails", marker(), streamed)
        assert status == 429
        assert message in ("Too much.", f"The fake provider answers 429 for '{cell.about.fails}'.")
    status, message = cell.client.fault(f"{cell.kind}-breaks", f"{marker()} one two three", True)
    assert status == 200
    assert message in ("Broke off.", "The server had an error", "Overloaded")


FEATURES: Final[dict[str, Check]] = {
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
