"""What goes of a conversation that is too long."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.stored.shortening import without_oldest

SYSTEM = {"role": "system", "content": "Be brief."}
CALL: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "x" * 100}


def said(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def test_the_oldest_go_and_instructions_stay() -> None:
    messages = [SYSTEM, said("a" * 100), CALL, RESULT, SYSTEM, said("b" * 100), said("last")]
    assert without_oldest(messages, 0.1) == [SYSTEM, CALL, RESULT, SYSTEM, said("b" * 100), said("last")]
    assert without_oldest(messages, 0.4) == [SYSTEM, SYSTEM, said("b" * 100), said("last")]
    assert without_oldest(messages, 1.0) == [SYSTEM, SYSTEM, said("last")]
    assert without_oldest(messages, 0.0) == messages


def test_a_result_that_is_last_keeps_its_call() -> None:
    assert without_oldest([said("x"), CALL, RESULT], 1.0) == [CALL, RESULT]


@given(st.lists(st.sampled_from([SYSTEM, said("a"), CALL, RESULT])), st.floats(0, 1))
def test_no_result_is_without_its_call(messages: list[dict[str, Any]], share: float) -> None:
    whole = [said("x")] + [each for message in messages for each in ([CALL, RESULT] if message is CALL else [message])]
    whole = [each for place, each in enumerate(whole) if each is not RESULT or whole[place - 1] is CALL]
    kept = without_oldest(whole, share)
    assert [each for each in kept if each is SYSTEM] == [each for each in whole if each is SYSTEM]
    assert all(kept[place - 1] is CALL for place, each in enumerate(kept) if each is RESULT)
    assert any(each is not SYSTEM for each in kept)
