"""The kinds of providers: every shipped file is sound, and a configuration gets what its kind says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.dataplane.endpoints.inference import ENDPOINTS
from gateway.providers.registry import translator_for
from gateway.settings.kinds import ProviderKind, base_url_of, kind_of, names, options_of, read
from gateway.settings.load import Loaded

REPOSITORY = Path(__file__).parents[3]
Read = Callable[[str], Loaded]


@pytest.mark.parametrize("name", names())
def test_every_kind_is_sound(name: str) -> None:
    kind = kind_of(name)
    if kind is None:
        assert name == "llama_cpp"
        return
    known = {endpoint.name for endpoint in ENDPOINTS}
    assert {*kind.endpoints, *kind.paths} <= known
    assert (translator_for(name) is None) == (kind.api == "openai")
    assert not set(kind.renamed) & set(kind.unsupported)
    filled = base_url_of(kind, {**options_of(kind, {}), "resource": "r", "project": "p"})
    assert filled is not None
    assert re.fullmatch(r"https://[a-z0-9./_-]+|http://127\.0\.0\.1:\d+/v1", filled), filled


@pytest.mark.parametrize("name", names())
def test_every_kind_is_documented(name: str) -> None:
    assert f"`{name}`" in (REPOSITORY / "docs" / "providers.md").read_text("utf-8") or name == "llama_cpp"


def test_every_key_of_a_file_is_documented() -> None:
    text = (REPOSITORY / "docs" / "providers.md").read_text("utf-8").partition("## A kind's file")[2]
    documented = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| ([^|]*) \|", text, re.M))))

    assert documented == set(ProviderKind.__struct_fields__)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("docs: https://x", "name"),
        ("name: x\ndocs: https://x\nbase_ur: https://x", "base_ur"),
        ("name: x\ndocs: https://x\nbase_url: https://{where}/v1", "where"),
        ("name: x\ndocs: https://x\npaths: {chat.completions: '/{modle}'}", "modle"),
        ("name: x\ndocs: https://x\nunless: [y]", "y"),
        ("name: [", "faulty.yaml"),
    ],
)
def test_a_file_that_is_not_sound(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "faulty.yaml"
    path.write_text(text)

    with pytest.raises(ValueError, match=told):
        read(path)


def test_a_kind_fills_in_what_is_not_given(read_text: Read) -> None:
    loaded = read_text(
        "providers:\n"
        "- {name: a, kind: groq, api_key: k}\n"
        "- {name: b, kind: groq, base_url: 'http://127.0.0.1:1/v1'}\n"
        "- {name: c, kind: azure, api_key: k, options: {resource: mine}}\n"
        "- {name: d, kind: bedrock, api_key: k, options: {region: eu-west-1}}\n"
        "- {name: e, kind: openai, api_key: k}\n"
    )
    by_name = {provider.name: provider for provider in loaded.settings.providers}

    assert by_name["a"].base_url == "https://api.groq.com/openai/v1"
    assert by_name["b"].base_url == "http://127.0.0.1:1/v1"
    assert by_name["c"].base_url == "https://mine.openai.azure.com/openai"
    assert by_name["c"].options["api_version"] == "2024-10-21"
    assert by_name["d"].base_url == "https://bedrock-runtime.eu-west-1.amazonaws.com"
    assert by_name["e"].base_url == "https://api.openai.com/v1"


@pytest.mark.parametrize(
    ("provider", "is_doubted"),
    [
        ("kind: groq", True),
        ("kind: groq, api_key: k", False),
        ("kind: groq, base_url: 'http://127.0.0.1:1'", False),
        ("kind: groq, headers: {authorization: x}", False),
        ("kind: ollama", False),
        ("kind: bedrock", True),
        ("kind: bedrock, options: {access_key_id: a, secret_access_key: b}", False),
    ],
)
def test_a_vendor_without_a_credential_is_doubted(read_text: Read, provider: str, is_doubted: bool) -> None:
    warnings = read_text(f"providers: [{{name: p, {provider}}}]\nmodels: []\n").warnings

    assert bool([each for each in warnings if each.path == "providers[0]"]) == is_doubted


def test_secrets_among_the_options_are_not_told(faults_of: Callable[[str], dict[str, object]]) -> None:
    faults = faults_of(
        "providers: [{name: p, kind: bedrock, options: {secret_access_key: s3cr3tvalue, s3cr3tvalue: x}}]"
    )

    assert faults
    assert "s3cr3tvalue" not in str(list(map(str, faults.values())))
