"""What is read of relayed events: the same however they come in blocks, and never more than a client has."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.native_said import MessageSaid, NativeSaid, ResponseSaid
from gateway.dataplane.transcript import Transcript
from gateway.plugin.sse import split_events
from gateway.protocols.messages.stream import BegunMessage
from gateway.protocols.responses.begun import BegunMessageItem, BegunResponse
from tests.faults.upstream.dialects import framed

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
DELTAS = st.one_of(
    st.builds(lambda text: {"type": "text_delta", "text": text}, TEXTS),
    st.builds(lambda text: {"type": "thinking_delta", "thinking": text}, TEXTS),
    st.just({"type": "signature_delta", "signature": "s"}),
    st.just({"type": "input_json_delta", "partial_json": "{"}),
)
MESSAGES = st.one_of(
    st.builds(lambda delta: framed("content_block_delta", index=0, delta=delta), DELTAS),
    st.builds(lambda text: framed("content_block_delta", index=0, delta={"type": "text_delta", "text": text}), TEXTS),
    st.builds(
        lambda kind, text: framed("content_block_start", index=0, content_block={"type": kind, kind: text}),
        st.sampled_from(["text", "thinking", "tool_use"]),
        TEXTS,
    ),
    st.sampled_from(
        [
            framed("message_start", message={"id": "m", "model": "x"}),
            framed("content_block_stop", index=0),
            framed("message_delta", delta={"stop_reason": "end_turn"}),
            framed("ping"),
            b": note\n\n",
            b"event: odd\ndata: [1]\n\n",
        ]
    ),
)


def state(said: NativeSaid) -> tuple[Any, ...]:
    return (said.text, said.length, said.pieces, said.other, said.thought, said.finished, said.id, said.begun)


@given(st.lists(MESSAGES, max_size=12), st.data())
def test_blocks_make_no_difference(events: list[bytes], data: st.DataObject) -> None:
    one = MessageSaid()
    for event in events:
        one.read(event)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(events)), max_size=4)))
    several = MessageSaid()
    for begin, end in zip([0, *cuts], [*cuts, len(events)], strict=True):
        several.read_all([b"".join(events[begin:end])])
    assert state(several) == state(one)


@given(st.lists(TEXTS.filter(bool), min_size=1, max_size=30))
def test_a_run_of_text_is_read_as_its_events_are(texts: list[str]) -> None:
    events = [framed("content_block_delta", index=0, delta={"type": "text_delta", "text": text}) for text in texts]
    start = framed("content_block_start", index=0, content_block={"type": "text", "text": ""})
    one, run = MessageSaid(), MessageSaid()
    for event in (start, *events):
        one.read(event)
    run.read(start)
    run.read_all(events)
    assert state(run) == state(one)
    assert run.text == "".join(texts)
    assert run.begun == BegunMessage(False, 0, "text")


def test_text_outside_a_block_of_text_is_not_gone_on_with() -> None:
    said = MessageSaid()
    said.read_all([framed("content_block_delta", index=-1, delta={"type": "text_delta", "text": "x"})])
    assert said.other


def test_what_is_not_known_is_not_gone_on_with() -> None:
    start = framed("content_block_start", index=0, content_block={"type": "text", "text": "One"})
    for odd in (
        framed("content_block_delta", index=0, delta={"type": "new_delta", "text": "y"}),
        framed("content_block_delta", index=4, delta={"type": "text_delta", "text": "y"}),
        framed("content_block_start", index=1, content_block={"type": "text", "text": ""}),
        framed("new_event", index=0),
        b'event: x\ndata: {"type": 1}\n\n',
    ):
        said = MessageSaid()
        said.read_all([start + odd])
        assert (said.text, said.other, said.continuable) == ("One", True, False), odd


def test_of_a_stream_that_nobody_could_go_on_with_only_the_beginning_is_kept() -> None:
    transcript = Transcript(False, MessageSaid())
    transcript.add(framed("content_block_start", index=0, content_block={"type": "text", "text": ""}))
    piece = framed("content_block_delta", index=0, delta={"type": "text_delta", "text": "x" * 100})
    for _ in range(1000):
        transcript.add(piece)
    transcript.add(framed("message_delta", delta={"stop_reason": "end_turn"}))
    said = transcript.said()
    assert said.length < 20_000
    assert said.other
    assert said.complete


PLACE = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
THOUGHT: dict[str, Any] = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAA"}
PART = {"type": "output_text", "text": "", "annotations": []}
RESPONSE = [
    framed("response.created", sequence_number=0, response={"id": "resp_1", "created_at": 7, "model": "x"}),
    framed("response.output_item.added", sequence_number=1, output_index=0, item=THOUGHT),
    framed("response.reasoning_summary_text.delta", sequence_number=2, item_id="rs_1", output_index=0, delta="Hm"),
    framed("response.output_item.done", sequence_number=3, output_index=0, item=THOUGHT),
    framed("response.output_item.added", sequence_number=4, output_index=1, item={"id": "msg_1", "type": "message"}),
    framed("response.content_part.added", sequence_number=5, **PLACE, part=PART),
    framed("response.output_text.delta", sequence_number=6, **PLACE, delta="One ", logprobs=[]),
    framed("response.output_text.delta", sequence_number=7, **PLACE, delta="two", obfuscation="x"),
]


def response(*events: bytes) -> ResponseSaid:
    said = ResponseSaid()
    said.read_all([b"".join(events)])
    return said


def test_a_response() -> None:
    said = response(*RESPONSE)
    assert (said.text, said.pieces, said.continuable, said.thought) == ("One two", 3, True, True)
    assert said.begun == BegunResponse("resp_1", 7, "x", 8, [THOUGHT], BegunMessageItem("msg_1", [], "One two"))


def test_a_part_and_a_message_that_are_complete() -> None:
    whole = {"type": "output_text", "text": "One two", "annotations": []}
    ended = framed("response.content_part.done", sequence_number=9, **PLACE, part=whole)
    assert response(*RESPONSE, ended).begun.open == BegunMessageItem("msg_1", [whole], None)
    message = {"id": "msg_1", "type": "message", "content": [whole]}
    done = framed("response.output_item.done", sequence_number=10, output_index=1, item=message)
    begun = response(*RESPONSE, ended, done).begun
    assert (begun.items, begun.open, begun.next) == ([THOUGHT, message], None, 11)


def test_what_a_prefill_can_not_hold() -> None:
    for odd in (
        framed("response.output_item.added", output_index=2, item={"id": "fc_1", "type": "function_call"}),
        framed("response.refusal.delta", **PLACE, delta="No"),
        framed("response.output_text.annotation.added", **PLACE, annotation={}),
        framed("response.output_text.delta", **PLACE, delta="x", logprobs=[{"token": "x"}]),
        framed("response.output_text.delta", **{**PLACE, "output_index": 5}, delta="x"),
        framed("response.content_part.added", **{**PLACE, "content_index": 1}, part={"type": "refusal"}),
        framed("response.web_search_call.searching", output_index=2),
        b'event: x\ndata: {"type": 1}\n\n',
    ):
        said = response(*RESPONSE, odd)
        assert said.other, odd
        assert not said.continuable


def test_thoughts_alone_are_neither_nothing_nor_a_beginning() -> None:
    for count in (2, 3, 4):
        said = response(*RESPONSE[:count])
        assert (said.nothing, said.continuable) == (False, False)
    assert response(RESPONSE[0]).nothing


@given(st.lists(st.sampled_from(RESPONSE) | st.binary(max_size=20), max_size=10))
def test_any_events_can_be_read(events: list[bytes]) -> None:
    for said in (MessageSaid(), ResponseSaid()):
        said.read_all([event for block in events for event in split_events(block)])
        assert said.begun is not None
        assert said.as_chat().text == said.text
