"""Lists that grow in a stream, as OpenAI's SDK puts them together."""

from __future__ import annotations

from typing import Any

from openai.lib.streaming._deltas import accumulate_delta

from gateway.dataplane.numbering import Numbers


def chunk(delta: dict[str, Any], choice: int = 0) -> dict[str, Any]:
    return {"choices": [{"index": choice, "delta": delta}]}


def test_openais_sdk_puts_every_entry_together() -> None:
    numbers = Numbers()
    deltas: list[dict[str, Any]] = [
        {"citations": [{"start_index": 1}], "thinking_blocks": [{"data": "a"}, {"data": "b"}]},
        {"content": "text"},
        {"citations": [{"start_index": 2}, {"start_index": 3}]},
        {"thinking_blocks": [{"data": "c"}]},
    ]
    made: dict[object, object] = {}
    for delta in deltas:
        told = chunk(delta)
        numbers.put(told)
        made = accumulate_delta(made, told["choices"][0]["delta"])
    citations: Any = made["citations"]
    blocks: Any = made["thinking_blocks"]
    assert [each["start_index"] for each in citations] == [1, 2, 3]
    assert [each["data"] for each in blocks] == ["a", "b", "c"]


def test_each_choice_counts_by_itself() -> None:
    numbers = Numbers()
    first, second = chunk({"annotations": [{}, {}]}), chunk({"annotations": [{}]}, 1)
    others: list[dict[str, Any]] = [{"choices": []}, {"error": {}}]
    for told in (first, second, *others):
        numbers.put(told)
    assert [each["index"] for each in first["choices"][0]["delta"]["annotations"]] == [0, 1]
    assert [each["index"] for each in second["choices"][0]["delta"]["annotations"]] == [0]
