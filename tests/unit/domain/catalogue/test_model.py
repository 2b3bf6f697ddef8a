"""What has changed between two lists, and which targets a list does not have."""

from __future__ import annotations

import pytest

from gateway.contract.catalogue import Details
from gateway.domain.catalogue.model import Absent, Catalogue, Listing, absent, compare, current, find, listed_at
from gateway.settings.model import Model, Provider, Settings, Target

AT = "2026-01-02T03:04:05Z"
BASE = "http://p.test/v1"


def listing(*names: str, base: str = BASE, complete: bool = True, **details: Details) -> Listing:
    return Listing(base, AT, dict.fromkeys(names, Details()) | details, complete)


def settings(*models: str, kind: str = "openai", base: str = BASE) -> Settings:
    targets = tuple(Target(provider="p", model=model) for model in models)
    return Settings(
        providers=(Provider(name="p", kind=kind, base_url=base),), models=(Model(name="m", targets=targets),)
    )


def test_what_has_changed() -> None:
    before = listing("a", "b", c=Details(context_length=1, moderated=True))
    after = listing("b", "d", c=Details(context_length=2, moderated=True))

    assert compare(before, after) == (["d"], ["a"], {"c": {"context_length": (1, 2)}})
    assert compare(after, after) == ([], [], {})


@pytest.mark.parametrize(
    ("kind", "listed", "asked"),
    [
        ("openai", "a", "a"),
        ("ollama", "llama3:latest", "llama3"),
        ("openrouter", "maker/a", "maker/a:nitro"),
        ("openrouter", "maker/a:free", "maker/a:free"),
        ("huggingface", "maker/a", "maker/a:groq"),
        ("gemini", "g", "models/g"),
        ("bedrock", "maker.a-v1:0", "eu.maker.a-v1:0"),
    ],
)
def test_a_model_is_found_by_every_name_it_goes_by(kind: str, listed: str, asked: str) -> None:
    details = Details(context_length=1)

    assert find(Listing(BASE, AT, {listed: details}), kind, asked) is details


@pytest.mark.parametrize(
    ("kind", "asked"), [("openai", "a:nitro"), ("openrouter", "a:free"), ("openrouter", "a:"), ("bedrock", "xx.a")]
)
def test_other_names_are_others(kind: str, asked: str) -> None:
    assert find(listing("a"), kind, asked) is None


def test_a_target_that_is_not_listed() -> None:
    catalogue = Catalogue(providers={"p": listing("a")})

    assert absent(catalogue, settings("a", "b")) == [Absent("m", "p", "b", AT)]
    assert absent(catalogue, settings("arn:aws:bedrock:x", kind="bedrock")) == []


def test_a_list_that_says_nothing_of_a_target() -> None:
    assert absent(Catalogue(), settings("b")) == []
    assert absent(Catalogue(providers={"p": listing("a", complete=False)}), settings("b")) == []
    elsewhere = Catalogue(providers={"p": listing("a", base="http://other.test/v1"), "gone": listing("a")})
    assert current(elsewhere, settings("b")) == {}
    assert absent(elsewhere, settings("b")) == []


def test_a_base_url_is_kept_without_user_information() -> None:
    assert listed_at("https://user:secret@host:1/v1/") == "https://host:1/v1"
    assert listed_at("https://host/v1/a@b") == "https://host/v1/a@b"
    assert listed_at("unix:/run/engine@1.sock") == "unix:/run/engine@1.sock"
    assert listed_at(None) == ""
