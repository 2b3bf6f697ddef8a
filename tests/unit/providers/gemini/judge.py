"""Holds JSON against the types of Google's own SDK, which know no member beyond those of the API."""

from __future__ import annotations

from typing import Any

from google.genai import types


def check_request(body: dict[str, Any]) -> None:
    """Fail where a request is none of ``generateContent``."""
    for content in body["contents"]:
        types.Content.model_validate(content)
    types.Content.model_validate(body.get("systemInstruction", {}))
    for tool in body.get("tools", ()):
        types.Tool.model_validate(tool)
    types.ToolConfig.model_validate(body.get("toolConfig", {}))
    config = dict(body.get("generationConfig", {}))
    types.ImageConfig.model_validate(config.pop("imageConfig", {}))  # the SDK has it beside the type's own members
    types.GenerationConfig.model_validate(config)
    for setting in body.get("safetySettings", ()):
        types.SafetySetting.model_validate(setting)
    members = {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings"}
    assert body.keys() <= {*members, "cachedContent"}


def check_answer(answer: dict[str, Any]) -> None:
    """Fail where an answer, or one event of a stream, is none of the API."""
    types.GenerateContentResponse.model_validate(answer)
