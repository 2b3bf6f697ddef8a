"""The providers' lists: what is read of each API's answer, and that nothing else gets in."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.catalogue import Details
from gateway.domain.catalogue.lists import APIS, NoList, Page, plain, read


def of(api: str, document: Any) -> Page:
    return read(APIS[api], document)


def one(api: str, document: Any) -> Details:
    (details,) = of(api, document).models.values()
    return details


def openai(**item: Any) -> Details:
    return one("openai", {"object": "list", "data": [{"id": "m", "object": "model", **item}]})


def test_a_bare_list_of_openai_says_nothing_but_names() -> None:
    assert openai(owned_by="openai", created=1) == Details()


def test_what_openrouter_adds() -> None:
    found = openai(
        name="Maker: M",
        context_length=200_000,
        architecture={"input_modalities": ["text", "IMAGE"], "output_modalities": ["text"]},
        pricing={"prompt": "0.0000025", "completion": "0.000010", "web_search": "0.01", "request": "0"},
        top_provider={"context_length": 1, "max_completion_tokens": 16_384, "is_moderated": False},
        supported_parameters=["tools", "max_tokens"],
    )

    assert found == Details(
        name="Maker: M",
        context_length=200_000,
        max_output=16_384,
        input_modalities=("text", "image"),
        output_modalities=("text",),
        parameters=("tools", "max_tokens"),
        prices={"prompt": "0.0000025", "completion": "0.00001", "request": "0"},
        moderated=False,
    )


@pytest.mark.parametrize(
    ("item", "context"),
    [
        ({"context_window": 8192, "max_completion_tokens": 4096}, 8192),
        ({"max_model_len": 4096}, 4096),
        ({"max_context_length": 131_072}, 131_072),
        ({"metadata": {"context_length": 65_536}}, 65_536),
        ({"context_length": 0, "top_provider": {"context_length": 9}}, 9),
        ({"context_length": "8192"}, None),
        ({"context_length": True}, None),
        ({"context_length": 1e400}, None),
    ],
)
def test_the_names_that_others_give_to_the_context(item: dict[str, Any], context: int | None) -> None:
    assert openai(**item).context_length == context


@pytest.mark.parametrize(
    "pricing",
    [
        {"prompt": "-1", "completion": "-1"},
        {"prompt": "free"},
        {"prompt": "NaN"},
        {"prompt": "1e-999999"},
        {"prompt": "1e999999"},
        {"prompt": 0.2},
        {"input": 0.2, "output": 0.2},
        "0.1",
        None,
    ],
)
def test_a_price_that_is_not_told_plainly_is_none(pricing: Any) -> None:
    assert openai(pricing=pricing).prices == {}


def test_what_mistral_adds_and_its_other_names() -> None:
    has = {"completion_chat": True, "function_calling": True, "vision": False}
    page = of("mistral", {"data": [{"id": "m-1", "capabilities": has, "aliases": ["m-latest"]}]})

    assert page.models["m-1"] == Details(input_modalities=("text",), parameters=("tools", "tool_choice"))
    assert page.models["m-latest"] is page.models["m-1"]


def test_a_list_without_an_object_around_it() -> None:
    assert list(of("openai", [{"id": "a"}, {"id": "b"}]).models) == ["a", "b"]


def test_pages() -> None:
    assert of("openai", {"data": [], "links": {"next": "/v1/models?offset=500"}}).following == "/v1/models?offset=500"
    assert of("anthropic", {"data": [], "has_more": True, "last_id": "z"}).following == "z"
    assert of("anthropic", {"data": [], "has_more": False, "last_id": "z"}).following is None
    assert of("gemini", {"models": [], "nextPageToken": "t"}).following == "t"
    assert of("gemini", {}).models == {}
    assert of("cohere", {"models": [], "next_page_token": "t"}).following == "t"


def test_anthropic() -> None:
    has = {"image_input": {"supported": True}, "structured_outputs": {"supported": False}}
    item = {"id": "c", "display_name": "C", "max_input_tokens": 7, "max_tokens": 5, "capabilities": has}

    assert one("anthropic", {"data": [item]}) == Details(
        name="C",
        context_length=7,
        max_output=5,
        input_modalities=("text", "image"),
        output_modalities=("text",),
        parameters=("tools", "tool_choice"),
    )
    assert one("anthropic", {"data": [{"id": "c"}]}).input_modalities is None


def test_gemini_cohere_and_bedrock() -> None:
    gemini = of("gemini", {"models": [{"name": "models/g", "inputTokenLimit": 9, "outputTokenLimit": 3}]})
    assert gemini.models == {"g": Details(context_length=9, max_output=3)}
    cohere = {"models": [{"name": "c", "context_length": 9.0, "features": ["tools", "json_schema", "vision"]}]}
    assert one("cohere", cohere) == Details(
        context_length=9,
        input_modalities=("text", "image"),
        parameters=("tools", "tool_choice", "response_format", "structured_outputs"),
    )
    summary = {"modelId": "x.y", "modelName": "Y", "inputModalities": ["TEXT"], "outputModalities": ["EMBEDDING"]}
    assert one("bedrock", {"modelSummaries": [summary]}) == Details(
        name="Y", input_modalities=("text",), output_modalities=("embedding",)
    )


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("document", [None, 1, "x", {"error": {"message": "no"}}, {"data": {}, "models": 1}])
def test_what_is_no_list(api: str, document: Any) -> None:
    with pytest.raises(NoList, match="expected a JSON object with a list"):
        of(api, document)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = [
    "id",
    "name",
    "aliases",
    "architecture",
    "input_modalities",
    "pricing",
    "prompt",
    "top_provider",
    "capabilities",
    "vision",
    "metadata",
    "features",
    "context_length",
    "supported_parameters",
    "modelId",
    "inputModalities",
    "max_tokens",
    "image_input",
    "supported",
    "is_moderated",
]


@given(
    st.sampled_from(list(APIS)),
    st.lists(st.dictionaries(st.sampled_from(FIELDS), JSON | st.dictionaries(st.sampled_from(FIELDS), JSON))),
)
def test_whatever_is_listed_is_read_or_left_out(api: str, items: list[dict[str, Any]]) -> None:
    page = of(api, {"data": items, "models": items, "modelSummaries": items})

    for name, details in page.models.items():
        assert 0 < len(name) <= 256
        assert details.context_length is None or 0 < details.context_length < 2**53
        assert all(Decimal(price) >= 0 and len(price) < 40 for price in details.prices.values())


@given(st.decimals(min_value=0, max_value=10, allow_nan=False, allow_infinity=False, places=12))
def test_a_price_keeps_its_value(price: Decimal) -> None:
    assert Decimal(plain(price)) == price
    assert "E" not in plain(price).upper()
