"""Event streams: whatever way they are cut on the wire, what comes out is the same."""

from __future__ import annotations

import itertools
import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.usage import Tokens
from gateway.dataplane import streaming
from gateway.dataplane.counting.texts import Texts, of_answer
from gateway.dataplane.streaming import _CHAT_TEXT, KEPT, MOST_TEXT, EventStream, OversizedEvent, plain_content
from gateway.dataplane.vendors import LOCAL
from tests.support.raw_upstream import DONE, delta, usage_event

END = st.sampled_from([b"\n", b"\r\n", b"\r"])
PAYLOAD = st.one_of(
    st.builds(delta, st.text(max_size=20)).map(lambda event: event[6:-2]),
    st.just(usage_event(7, 3)[6:-2]),
    st.just(b'{"id":"c1","choices":[{"index":0,"delta":{}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}'),
    st.just(b'{"id":"c1","choices":[],"usage":null}'),
    st.just(b'{"error":{"message":"overloaded"}}'),
    st.just(b"[DONE]"),
    st.just(b"no json"),
    st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=20).map(str.encode),
)


@st.composite
def lines(draw: st.DrawFn) -> list[bytes]:
    """The lines of one event: comments, fields, data."""
    found = []
    if draw(st.booleans()):
        found.append(draw(st.sampled_from([b": keep-alive", b":", b"event: message", b"id: 7", b"retry: 10"])))
    if draw(st.integers(0, 5)):
        found.append(draw(st.sampled_from([b"data: ", b"data:"])) + draw(PAYLOAD))
    return found or [b": ping"]


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """The events of a stream, framed alike, as bytes."""
    end = draw(END)
    return [end.join(event) + end + end for event in draw(st.lists(lines(), max_size=8))]


def state(stream: EventStream) -> tuple[Tokens | None, int, bool, bool, bool, bytes]:
    return stream.tokens, stream.events, stream.done, stream.failed, stream.summed, stream.partial


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(streams(), st.lists(st.integers(0, 10_000), max_size=30), st.booleans(), st.binary(max_size=10))
def test_no_cut_changes_what_comes_out(events: list[bytes], places: list[int], hide: bool, rest: bytes) -> None:
    rest = rest.replace(b"\n", b"").replace(b"\r", b"")
    whole, pieces, single = EventStream(hide), EventStream(hide), EventStream(hide)
    data = b"".join(events) + rest
    expected = b"".join(whole.feed(event) for event in events) + whole.feed(rest)
    assert b"".join(pieces.feed(piece) for piece in cut(data, places)) == expected
    assert b"".join(single.feed(data[at : at + 1]) for at in range(len(data))) == expected
    assert state(pieces) == state(single) == state(whole)
    assert whole.partial == rest


@given(streams(), st.lists(st.integers(0, 10_000), max_size=30))
def test_nothing_is_lost_where_usage_is_not_hidden(events: list[bytes], places: list[int]) -> None:
    stream = EventStream(False)
    data = b"".join(events)
    assert b"".join(stream.feed(piece) for piece in cut(data, places)) + stream.partial == data


@given(st.lists(st.text(max_size=10), max_size=6), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.data())
def test_hiding_takes_out_the_usage_event_and_nothing_else(texts: list[str], end: bytes, data: st.DataObject) -> None:
    kept = [delta(text).rstrip(b"\n") + end + end for text in texts]
    usage = b": before" + end + usage_event(9, 4).rstrip(b"\n") + end + end
    done = b"data: [DONE]" + end + end
    wire = b"".join([*kept, usage, done])
    stream = EventStream(True)
    out = b"".join(stream.feed(piece) for piece in cut(wire, data.draw(st.lists(st.integers(0, 10_000), max_size=9))))
    assert out == b"".join([*kept, done])
    assert stream.tokens == Tokens(prompt=9, completion=4)
    assert stream.done
    assert stream.summed


def test_usage_in_an_event_with_choices_is_kept() -> None:
    event = delta("x").replace(b'"choices"', b'"usage":{"prompt_tokens":3,"completion_tokens":1},"choices"')
    stream = EventStream(True)
    assert stream.feed(event) == event
    assert stream.tokens == Tokens(prompt=3, completion=1)
    assert not stream.summed


def test_the_last_usage_counts() -> None:
    stream = EventStream(False)
    stream.feed(usage_event(5, 1) + usage_event(5, 9))
    assert stream.tokens == Tokens(prompt=5, completion=9)


def test_text_that_looks_like_the_end_or_like_usage_is_neither() -> None:
    said = delta('data: [DONE]\n\n"usage": {"prompt_tokens": 99}') + b'data: {"x":"[DONE]"}\n\n'
    stream = EventStream(True)
    assert stream.feed(said) == said
    assert not stream.done
    assert stream.tokens is None


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n"])
@pytest.mark.parametrize("space", [b" ", b""])
def test_the_end_is_seen_in_every_framing(end: bytes, space: bytes) -> None:
    stream = EventStream(False)
    wire = delta("x").rstrip(b"\n") + end + b"data:" + space + b"[DONE]" + end
    assert stream.feed(wire) == wire
    assert stream.done
    assert not stream.partial


@pytest.mark.parametrize(
    "event", [b'data: {"error":{"m":1}}\n\n', b'data:{ "error" : "x"}\n\n', b'e: 1\ndata: {"error":{}}\n\n']
)
def test_an_error_in_the_stream_is_noticed(event: bytes) -> None:
    stream = EventStream(False)
    stream.feed(event)
    assert stream.failed


@pytest.mark.parametrize("event", [delta('{"error":{}}'), b'data: {"error":null}\n\n', b': data: {"error":{}}\n\n'])
def test_what_is_no_error_is_none(event: bytes) -> None:
    stream = EventStream(False)
    stream.feed(event)
    assert not stream.failed


@pytest.mark.parametrize("held", [b"data: [DONE]", b"data: [DONE]\n", b"data:[DONE]\r\n", b": x\ndata: [DONE]\n"])
def test_an_end_without_its_blank_line_is_told(held: bytes) -> None:
    stream = EventStream(False)
    assert stream.feed(delta("x") + held) == delta("x")
    assert stream.unterminated_done
    assert stream.feed(b"\n\n") in (held + b"\n\n", held + b"\n")
    assert stream.done
    assert not stream.unterminated_done


def test_a_whole_end_is_not_unterminated() -> None:
    stream = EventStream(False)
    stream.feed(DONE + b"data: {")
    assert not stream.unterminated_done


def test_an_event_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "MAX_EVENT_BYTES", 1000)
    stream = EventStream(False)
    stream.feed(delta("ok") + b"d" * 1000)
    with pytest.raises(OversizedEvent):
        stream.feed(b"d")


def test_large_events_in_one_piece_pass() -> None:
    event = delta("x" * 2_000_000)
    assert EventStream(True).feed(event) == event


@pytest.mark.parametrize("size", [1, 3, 700])
def test_the_cost_of_an_event_grows_with_its_length_and_no_faster(size: int) -> None:
    """Eight times the bytes in pieces of one size: about eight times the work, far from sixty-four."""

    def seconds(length: int) -> float:
        best = float("inf")
        for _ in range(3):
            stream = EventStream(False)
            event = b"data: " + b"x" * length + b"\n\n"
            pieces = [event[at : at + size] for at in range(0, len(event), size)]
            began = time.process_time()
            for piece in pieces:
                stream.feed(piece)
            best = min(best, time.process_time() - began)
            assert stream.events == 1
        return best

    small = 40_000 * min(size, 20)
    assert seconds(8 * small) < 24 * seconds(small)


def test_the_payload_of_a_usage_event_is_any_json() -> None:
    body = orjson.dumps({"choices": [], "usage": {"total_tokens": 12, "completion_tokens": 2, "unknown": [1]}})
    stream = EventStream(True)
    assert stream.feed(b"data: " + body + b"\n\n") == b""
    assert stream.tokens == Tokens(prompt=10, completion=2)


def chunk(text: str, **delta: str) -> bytes:
    """One event of a chat stream, as OpenAI spells it."""
    choice = {"index": 0, "delta": {"content": text, **delta}, "finish_reason": None}
    return b"data: " + orjson.dumps({"id": "x", "choices": [choice], "usage": None}) + b"\n\n"


USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4}}\n\n'


def test_what_came_since_the_last_usage_is_kept() -> None:
    stream = EventStream(True)
    assert stream.unread() is None
    stream.feed(chunk("Hello"))
    stream.feed(chunk(" there"))
    kept = stream.unread()
    assert kept is not None
    assert kept.events == chunk("Hello") + chunk(" there")
    stream.feed(USAGE + b"data: [DONE]\n\n")
    assert stream.unread() is None
    stream.feed(chunk("more"))
    again = stream.unread()
    assert again is not None
    assert b"more" in again.events
    assert b"Hello" not in again.events


def test_what_holds_no_text_is_not_kept_for_counting() -> None:
    stream = EventStream(True)
    stream.feed(USAGE)
    stream.feed(b'data: {"choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}],"padding":"abcd"}\n\n')
    assert stream.unread() is None


@given(st.lists(st.text(), min_size=1, max_size=30), st.lists(st.text(), max_size=5))
def test_of_many_events_the_text_is_kept(texts: list[str], thoughts: list[str]) -> None:
    # Padding that is no text makes each event large enough for several to be condensed.
    stream = EventStream(True)
    for text in texts:
        stream.feed(chunk(text, padding="x" * (KEPT // 3)))
    for thought in thoughts:
        stream.feed(chunk("", reasoning_content=thought, padding="x" * (KEPT // 3)))
    unread = stream.unread()
    found = of_answer(unread) if unread is not None else Texts()
    assert "".join(found.texts) == "".join(texts)
    assert "".join(found.thoughts) == "".join(thoughts)
    assert unread is None or len(unread.events) <= KEPT + 1_000


def test_no_more_text_is_kept_than_a_bound() -> None:
    stream = EventStream(True)
    event = chunk("a" * 10_000)
    for _ in range(100):
        stream.feed(event)
    unread = stream.unread()
    assert unread is not None
    assert len(unread.events) <= KEPT + len(event)
    assert MOST_TEXT <= len(unread.text) <= MOST_TEXT + 4 * KEPT
    assert unread.lost + len(unread.text) + unread.events.count(b"a" * 10_000) * 10_000 == 1_000_000


@given(st.lists(st.text(), max_size=8))
def test_plain_text_is_found_the_fast_way_as_by_the_pattern(texts: list[str]) -> None:
    events = b"".join(map(chunk, texts))
    found = plain_content(events)
    if found is None:  # a text that spells the name of another field is left to the pattern
        assert any(name in events for name in (b'"reasoning', b'"arguments"', b'"refusal'))
        return
    assert found == b"".join(text for _, text in _CHAT_TEXT.findall(events))


@pytest.mark.parametrize("spelling", [b'"usage":{', b'"usage": {', b'"usage" : {'])
def test_usage_is_seen_however_it_is_spelt(spelling: bytes) -> None:
    stream = EventStream(True)
    stream.feed(b'data: {"usage":null}\n\ndata: {"choices":[],' + spelling + b'"prompt_tokens":3}}\n\n')
    assert stream.tokens == Tokens(prompt=3)


def test_a_local_models_counts_come_as_comments_and_are_not_passed_on() -> None:
    stream = EventStream(False, LOCAL, "chat.completions")
    counts = b': {"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\n'
    assert stream.feed(chunk("a") + counts) == chunk("a")
    assert stream.tokens == Tokens(prompt=3, completion=1)
    assert stream.unread() is None
    assert not stream.summed
    assert EventStream(False).feed(counts) == counts
