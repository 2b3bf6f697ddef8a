"""The text that is judged is what the user asks, in every form in which messages come."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.learned.prompts import SHORT, prompt_of

LONG = "Explain why the sky is blue. " * 10


def of(value: Any) -> str:
    return prompt_of(json.dumps(value).encode())


def said(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def test_of_messages_the_last_one_of_the_user_counts() -> None:
    assert of([said("system", "Be brief."), said("user", "first"), said("assistant", "a"), said("user", LONG)]) == LONG


def test_a_short_message_is_judged_with_what_it_goes_on_from() -> None:
    assert len("And in French?") < SHORT
    assert of([said("user", LONG), said("assistant", "…"), said("user", "And in French?")]) == f"{LONG}\nAnd in French?"


def test_text_parts_count_and_images_do_not() -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    assert of([said("user", parts)]) == "What is this?"
    assert of([said("user", [{"type": "input_text", "text": LONG}])]) == LONG


def test_a_text_and_texts_are_prompts_too() -> None:
    assert of("Say hi") == "Say hi"
    assert of(["a", "b"]) == "a\nb"
    assert prompt_of(None) == ""


def test_what_is_no_prompt_is_an_empty_one() -> None:
    odds: tuple[Any, ...] = (1, True, {}, [1, 2], [said("user", 7)], [said("user", None)], [{"role": 1}], "\ud800")
    for odd in odds:
        assert of(odd) == ""


def test_of_a_very_long_one_the_beginning_and_the_end_are_kept() -> None:
    found = of([said("user", "a" * 100_000 + "b" * 100_000)])
    assert len(found) == 65_536
    assert found.startswith("aaa")
    assert found.endswith("bbb")


@given(st.binary(max_size=200))
def test_any_bytes_give_a_text(raw: bytes) -> None:
    assert isinstance(prompt_of(raw), str)
