"""Whatever the file holds: settings or faults, never a traceback, never a secret."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.settings.document import Document, parse, resolve
from gateway.settings.faults import ConfigError
from gateway.settings.load import read
from gateway.settings.model import Settings

SECRET = "HUSH4321HUSH"
GOOD: dict[str, Any] = {
    "server": {"host": "127.0.0.1", "port": 0, "workers": 1},
    "master_key": SECRET,
    "providers": [
        {
            "name": "p",
            "base_url": f"http://user:{SECRET}@host/v1",
            "api_key": SECRET,
            "headers": {"x-secret": SECRET},
            "timeouts": {"connect": 1},
        },
        {"name": "l", "kind": "llama_cpp", "model": "smollm2-135m-instruct"},
    ],
    "models": [
        {"name": "a", "targets": [{"provider": "p", "model": "x", "weight": 1}], "fallbacks": ["b"]},
        {"name": "b", "targets": [{"provider": "l", "model": "smollm2-135m-instruct"}]},
    ],
    "pricing": [{"provider": "p", "model": "x", "input_per_1k": 1, "output_per_1k": 1}],
    "plans": [{"name": "pro", "limits": [{"metric": "requests", "window": "day", "limit": 1}]}],
    "keys": [{"key": f"gw_live_{SECRET}", "name": "k", "plan": "pro", "budget": {"amount": 1}}],
    "plugins": [{"name": "noop", "with": {"password": SECRET}}],
}
# Beyond these JSON writes pairs of surrogates, which YAML does not know.
KEYS = st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=KEYS, max_size=12)
    | st.sampled_from(["${NOPE}", "${VALUE}", "${", "p", "a", "b", "pro", "ml", "llama_cpp", 10**40, -1, 0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet=KEYS, max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a document."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A sound document with some values replaced, removed, or put in the place of others."""
    document = copy.deepcopy(GOOD)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(document))))
        holder: Any = document
        for part in path[:-1]:
            holder = holder[part]
        action = draw(st.sampled_from(["replace", "remove", "rename", "copy"]))
        if action == "remove":
            del holder[path[-1]]
        elif action == "rename" and isinstance(holder, dict):
            holder[draw(st.text(max_size=6))] = holder.pop(path[-1])
        elif action == "copy":
            source = draw(st.sampled_from(list(places(GOOD))))
            value: Any = GOOD
            for part in source:
                value = value[part]
            holder[path[-1]] = copy.deepcopy(value)
        else:
            holder[path[-1]] = draw(VALUES)
        if not document:
            break
    return document


def outcome(data: bytes) -> Settings | ConfigError:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "gateway.yaml"
        path.write_bytes(data)
        try:
            return read(path, {"VALUE": SECRET}).settings
        except ConfigError as error:
            failure = error
    assert any(fault.severity == "error" for fault in failure.faults)
    assert all(fault.line >= 1 and fault.column >= 1 for fault in failure.faults)
    return failure


def test_the_document_that_is_mutated_is_sound() -> None:
    assert isinstance(outcome(json.dumps(GOOD).encode()), Settings)


@given(data=st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    assert isinstance(outcome(data), Settings | ConfigError)


@given(text=st.text(alphabet="abc:-{}[]&*!|>'\"%@`#?,.~0 \n\t$<=\\", max_size=80))
def test_any_text_that_looks_like_yaml(text: str) -> None:
    assert isinstance(outcome(text.encode()), Settings | ConfigError)


@settings(max_examples=300)
@given(document=mutated())
def test_a_mutated_document_shows_no_secret(document: Any) -> None:
    found = outcome(json.dumps(document).encode())
    if isinstance(found, ConfigError):
        assert SECRET not in str(found)


@settings(max_examples=50)
@given(cut=st.integers(0, len(json.dumps(GOOD, indent=1))))
def test_a_file_that_is_cut_off_shows_no_secret(cut: int) -> None:
    found = outcome(json.dumps(GOOD, indent=1)[:cut].encode())
    if isinstance(found, ConfigError):
        assert SECRET not in str(found)


@given(document=VALUES)
def test_json_is_read_as_json(document: Any) -> None:
    parsed = parse(json.dumps({"x": document}).encode(), "f")
    assert not parsed.faults
    assert _plain(parsed) == {"x": document}


@given(number=st.integers(-(10**39), 10**39))
def test_whole_numbers(number: int) -> None:
    assert resolve(str(number)) == number


@pytest.mark.parametrize("text", ["9" * 5000, "1e999", ".inf", ".nan", "1_000", "1:30", "0b1", "yes", "-", "+", "."])
def test_what_only_resembles_a_number_is_a_text(text: str) -> None:
    assert resolve(text) == text


def _plain(document: Document) -> Any:
    def value(node: Any) -> Any:
        if isinstance(node.value, dict):
            return {name: value(item) for name, item in node.value.items()}
        if isinstance(node.value, list):
            return [value(item) for item in node.value]
        return resolve(node.value) if node.plain else node.value

    return value(document.root)
