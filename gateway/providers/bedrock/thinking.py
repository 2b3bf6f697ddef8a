"""How much a model on Bedrock is to think, in the words of its maker.

Sources: "Extended thinking", "Adaptive thinking", "Amazon Nova: extended thinking" and "OpenAI models" in the Amazon
Bedrock user guides.
"""

from __future__ import annotations

from typing import Final

from gateway.providers import asking
from gateway.providers.anthropic.models import abilities_of
from gateway.providers.anthropic.thinking import LEAST_BUDGET
from gateway.providers.base import Json

_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_BUDGETS: Final = {"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 24_576, "xhigh": 32_768, "max": 32_768}
_THREE: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


def set_thinking(chat: Json, config: Json, more: Json, dropped: list[str], model: str) -> None:
    """Set what goes into ``additionalModelRequestFields``. ``config`` is the ``inferenceConfig``."""
    thinking, effort = chat.get("thinking"), chat.get("reasoning_effort")
    if effort is not None and effort not in _EFFORTS:
        raise asking.wrong("reasoning_effort", ", ".join(_EFFORTS))
    if "claude" in model:
        _set_claude(thinking, effort, config, more, dropped, model)
        return
    if isinstance(thinking, dict) and thinking.get("type") != "disabled":
        if "nova-2" in model and effort in (None, "none"):
            more["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": "medium"}
        elif effort is None:
            dropped.append("thinking")
    if effort in (None, "none"):
        return
    if "nova-2" in model:
        more["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": _THREE[effort]}
    elif "gpt-oss" in model:
        more["reasoning_effort"] = _THREE[effort]
    else:
        dropped.append("reasoning_effort")


def _set_claude(thinking: object, effort: str | None, config: Json, more: Json, dropped: list[str], model: str) -> None:
    abilities = abilities_of(model)
    if isinstance(thinking, dict):
        more["thinking"] = thinking
        if abilities.adapts and effort in _BUDGETS:
            more["output_config"] = {"effort": "low" if effort == "minimal" else effort}
    elif effort == "none":
        if abilities.adapts:
            more["thinking"] = {"type": "disabled"}
    elif effort is None:
        return
    elif abilities.adapts:
        more["thinking"] = {"type": "adaptive"}
        more["output_config"] = {"effort": "low" if effort == "minimal" else effort}
    else:
        budget = min(_BUDGETS[effort], config.get("maxTokens", abilities.max_tokens) - 1)
        if not abilities.thinks or budget < LEAST_BUDGET:
            dropped.append("reasoning_effort")
        else:
            more["thinking"] = {"type": "enabled", "budget_tokens": budget}
