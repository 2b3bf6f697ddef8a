"""What the sidecar knows of models: the shipped list first, then what the provider tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.contract.catalogue import UNKNOWN, Details, author_of
from gateway.contract.prices import Priced
from gateway.domain.catalogue.file import Watched, write
from gateway.domain.catalogue.model import Catalogue, Listing
from gateway.domain.catalogue.service import KnownModels
from gateway.domain.pricing.book import bases_of
from gateway.domain.pricing.defaults import Defaults
from gateway.settings.model import Model, Provider, Settings, Target

OPENAI, ROUTER = "https://api.openai.com/v1", "https://router.test/api/v1"
SETTINGS = Settings(
    providers=(
        Provider(name="main", base_url=OPENAI),
        Provider(name="router", kind="openrouter", base_url=ROUTER),
        Provider(name="own", base_url="http://own.test/v1"),
    ),
    models=(
        Model(name="gpt", targets=(Target(provider="main", model="gpt-4o-mini"),)),
        Model(name="maker/a", targets=(Target(provider="router", model="maker/a"),)),
        Model(name="b", targets=(Target(provider="router", model="Maker/b"), Target(provider="own", model="b"))),
        Model(name="c", targets=(Target(provider="own", model="c"),)),
    ),
)


@pytest.fixture
def known(tmp_path: Path) -> KnownModels:
    lists = {
        "main": Listing(OPENAI, "", {"gpt-4o-mini": Details(name="Mini", context_length=5, max_output=7)}),
        "router": Listing(ROUTER, "", {"maker/a": Details(context_length=9, moderated=True), "Maker/b": Details()}),
        "own": Listing("http://moved.test/v1", "", {"c": Details(context_length=9)}),
    }
    write(tmp_path, Catalogue(providers=lists))
    return KnownModels(SETTINGS, Defaults(bases_of(SETTINGS)), Watched(tmp_path))


def test_the_shipped_list_goes_before_the_providers(known: KnownModels) -> None:
    asked = [("main", "gpt-4o-mini"), ("main", "gpt-4o"), ("router", "maker/a"), ("own", "c"), ("none", "x")]
    mini, gpt, listed, moved, unknown = known.describe([Priced(*pair) for pair in asked])

    assert mini == Details(name="Mini", context_length=128_000, max_output=7)
    assert gpt.context_length == 128_000
    assert gpt.name is not None
    assert listed == Details(context_length=9, moderated=True)
    assert moved == unknown == UNKNOWN, "a list of another base URL says nothing"


def test_authors(known: KnownModels) -> None:
    told = [(each.slug, each.models) for each in known.authors()]

    assert told == [("maker", 2), ("main", 1), ("own", 1)]
    assert [each.slug for each in known.authors("router")] == ["maker"]
    assert [each.slug for each in known.authors("OpenRouter")] == ["maker"]
    assert [(each.slug, each.models) for each in known.authors(moderated_only=True)] == [("maker", 1)]
    assert known.authors("own", moderated_only=True) == []
    assert known.authors("nobody") == []


@pytest.mark.parametrize(
    ("model", "target", "provider", "kind", "author"),
    [
        ("openai/gpt-4", "x", "router", "openrouter", "openai"),
        ("gpt", "OpenAI/gpt-4", "router", "openrouter", "openai"),
        ("gpt", "gpt-4", "Main", "openai", "main"),
        ("claude", "claude-x", "a", "anthropic", "anthropic"),
        ("g", "gemini-x", "a", "vertex", "google"),
        ("/odd/", "odd/", "p", "openai", "p"),
    ],
)
def test_who_made_a_model(model: str, target: str, provider: str, kind: str, author: str) -> None:
    assert author_of(model, target, provider, kind) == author
