"""APIs that are OpenAI's but for their parameters."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest

from gateway.kernel.errors import GatewayError
from gateway.providers.quirks import adapt
from gateway.settings.kinds import IN_ENGINE, ProviderKind, kind_of


def kind(name: str) -> ProviderKind:
    found = IN_ENGINE if name == "llama_cpp" else kind_of(name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "given", "sent", "dropped"),
    [
        ("deepseek", {"max_completion_tokens": 5}, {"max_tokens": 5}, ()),
        ("deepseek", {"max_tokens": 3, "max_completion_tokens": 5}, {"max_tokens": 3}, ()),
        ("groq", {"n": 1, "logprobs": False, "logit_bias": {}, "top_logprobs": None}, {}, ()),
        ("groq", {"n": 2, "logprobs": True, "seed": 1}, {"seed": 1}, ("logprobs", "n")),
        ("ollama", {"tool_choice": "auto"}, {}, ()),
        ("ollama", {"tool_choice": "required"}, {}, ("tool_choice",)),
        ("perplexity", {"tools": []}, {}, ()),
        ("together", {"prompt": "x", "size": "1024x768"}, {"prompt": "x", "width": 1024, "height": 768}, ()),
        ("together", {"size": "8x9", "width": 5}, {"width": 5, "height": 9}, ()),
        ("together", {"size": "auto"}, {}, ()),
        ("xai", {"size": "auto", "aspect_ratio": "3:2"}, {"aspect_ratio": "3:2"}, ()),
        ("xai", {"size": "1024x1024", "quality": "low"}, {"quality": "low"}, ("size",)),
        ("llama_cpp", {"reasoning_effort": None, "verbosity": "medium", "n": 2}, {"n": 2}, ()),
        (
            "llama_cpp",
            {"reasoning_effort": "low", "repetition_penalty": 2},
            {"repeat_penalty": 2},
            ("reasoning_effort",),
        ),
    ],
)
def test_parameters(name: str, given: dict[str, Any], sent: dict[str, Any], dropped: tuple[str, ...]) -> None:
    raw = msgspec.json.decode(orjson.dumps(given), type=dict[str, msgspec.Raw])

    assert adapt(given, kind(name)) == (sent, dropped)
    made, named = adapt(raw, kind(name))
    assert (orjson.loads(msgspec.json.encode(made)), named) == (sent, dropped)


def test_a_size_that_is_none() -> None:
    with pytest.raises(GatewayError) as refused:
        adapt({"size": "large"}, kind("together"))

    assert refused.value.field == "size"


def test_the_request_itself_is_not_changed() -> None:
    given = {"n": 2, "max_completion_tokens": 5}

    adapt(given, kind("deepseek"))

    assert given == {"n": 2, "max_completion_tokens": 5}
