"""Every client's protocol before every kind of provider: the official SDK, the gateway, and a fake of the vendor's API.

What these find is the matrix of ``docs/protocols.md``: ``make matrix`` writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from openai import OpenAI

from tests.scenarios.material import marker
from tests.scenarios.protocols.matrix.asks import Ask
from tests.scenarios.protocols.matrix.features import FEATURES
from tests.scenarios.protocols.matrix.limits import CLIENTS
from tests.scenarios.protocols.matrix.local import OF_LOCAL_MODELS
from tests.scenarios.protocols.matrix.responses import Responses
from tests.scenarios.protocols.matrix.stand import KINDS, Cell, Providers
from tests.support.fake_openai import KEY


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_cell(
    cell: Cell, client: str, kind: str, feature: str, record_property: Callable[[str, object], None]
) -> None:
    checks = OF_LOCAL_MODELS if kind == "llama_cpp" else FEATURES
    checks[feature](cell)
    record_property("cell", [client, kind, feature])


def test_openais_own_sdk_can_not_tell_the_fake_apart(fakes: Providers) -> None:
    """The one that has Responses, asked without a gateway between."""
    with OpenAI(base_url=fakes.native.base_url, api_key=KEY, max_retries=0, timeout=30) as client:
        cell = Cell(Responses(client), "openai-responses", fakes.native)
        for feature in ("plain", "stream", "tools", "parallel tools", "vision", "structured output", "reasoning"):
            FEATURES[feature](cell)


@pytest.mark.parametrize("kind", ["anthropic", "bedrock", "openai"])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_conversation_goes_on_with_another_vendors_model(cell: Cell, client: str, kind: str) -> None:
    """What Gemini's model thought and signed reaches none that would refuse it."""
    begun = cell.client.ask("gemini", Ask(f"{marker()} weather", tools=("weather",), thinks=True))
    thought = cell.client.ask("gemini", Ask(marker(), thinks=True))
    for got in (begun, thought):
        result = marker()
        asked = {**got.asked, "model": kind}
        moved = replace(got, asked=asked)
        last = cell.client.answer(moved, [result]) if got.calls else cell.client.go_on(moved, result)
        assert result in last.text
        heard = cell.heard(result)
        assert heard.signatures == ()
        assert b"gw1." not in cell.request(result).body
        if client != "chat" or kind != "openai":  # which is relayed as it came
            assert b"extra_content" not in cell.request(result).body
