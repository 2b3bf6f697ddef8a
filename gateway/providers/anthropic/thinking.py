"""How much a model is to think: OpenAI's effort as Anthropic's budget, or as its own effort."""

from __future__ import annotations

from typing import Any, Final

from gateway.providers.anthropic.models import Abilities
from gateway.providers.base import Json

LEAST_BUDGET: Final = 1_024
"""Tokens; a smaller budget is refused ("Extended thinking")."""
_BUDGETS: Final = {"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 24_576, "xhigh": 32_768, "max": 32_768}
_EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}


def set_thinking(chat: Json, body: Json, dropped: dict[str, None], abilities: Abilities) -> None:
    """Set ``thinking`` and ``output_config.effort``. Tools must be set before."""
    thinking = chat.get("thinking")
    effort = chat.get("reasoning_effort")
    if isinstance(thinking, dict):
        body["thinking"] = thinking
        if abilities.adapts and effort in _EFFORTS:
            body["output_config"] = {"effort": _EFFORTS[effort]}
        return
    if effort is None:
        return
    if effort == "none":
        if abilities.adapts:
            body["thinking"] = {"type": "disabled"}
    elif effort not in _EFFORTS or not abilities.thinks:
        dropped["reasoning_effort"] = None
    elif body.get("tool_choice", {}).get("type") in ("any", "tool"):
        dropped["reasoning_effort"] = None  # a model that must call a tool can't think before
    elif abilities.adapts:
        body["thinking"] = {"type": "adaptive"}
        body["output_config"] = {"effort": _EFFORTS[effort]}
    elif not _lacks_thoughts(body["messages"]):
        budget = min(_BUDGETS[effort], body["max_tokens"] - 1)
        if budget < LEAST_BUDGET:
            dropped["reasoning_effort"] = None
        else:
            body["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _lacks_thoughts(messages: list[Json]) -> bool:
    """Whether the turn that goes on after a tool was begun without thoughts, as of clients that did not keep them: a
    turn must be thought through whole or not at all.
    """
    for message in reversed(messages):
        content: Any = message["content"]
        if message["role"] == "assistant":
            return isinstance(content, list) and not any(
                block.get("type") in ("thinking", "redacted_thinking") for block in content
            )
        if isinstance(content, str) or not any(block.get("type") == "tool_result" for block in content):
            return False
    return False
