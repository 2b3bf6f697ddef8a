from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.settings.expand import MAX_FILE, Expander, ExpandError, sole_placeholder, sole_variable

NAMES = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,20}\Z")


def expand(text: str, env: dict[str, str] | None = None, base: Path = Path("/")) -> str:
    return Expander(env or {}, base).expand(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A}", "one"),
        ("<${A}|${B}>", "<one|>"),
        ("${A:-x}", "one"),
        ("${B:-x}", "x"),
        ("${C:-x}", "x"),
        ("${C:-}", ""),
        ("${C:-a:-b $c}", "a:-b $c"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$A $ {A} $", "$A $ {A} $"),
        ("", ""),
    ],
)
def test_placeholders(text: str, expected: str) -> None:
    assert expand(text, {"A": "one", "B": ""}) == expected


@pytest.mark.parametrize("text", ["${", "${A", "${}", "${A B}", "${1}", "${A-b}", "${file:}", "${NOPE}"])
def test_what_is_no_placeholder_is_a_fault(text: str) -> None:
    with pytest.raises(ExpandError):
        expand(text)


@given(value=st.text(), name=NAMES, before=st.text(alphabet="ab }{"), after=st.text(alphabet="ab }"))
def test_a_value_is_taken_as_it_is(value: str, name: str, before: str, after: str) -> None:
    assert expand(f"{before}${{{name}}}{after}", {name: value}) == before + value + after


@given(text=st.text())
def test_any_text_expands_or_is_a_fault(text: str) -> None:
    try:
        result = expand(text)
    except ExpandError:
        assert "${" in text
    else:
        assert "${" in text or result == text


@given(text=st.text(alphabet="${}ab", max_size=12))
def test_an_escaped_text_expands_to_itself(text: str) -> None:
    # A dollar sign before the brace would read as an escape of its own.
    if "$${" not in text:
        assert expand(text.replace("${", "$${")) == text


@given(value=st.text(min_size=4, alphabet=st.characters(categories=["Lu"])))
def test_a_fault_never_shows_a_value(value: str) -> None:
    with pytest.raises(ExpandError) as caught:
        expand("${secret} ${other}", {"secret": value})
    assert value not in f"{caught.value} {caught.value.hint}"


def test_files_are_read_and_remembered(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("  secret \n")
    expander = Expander({}, tmp_path)
    assert expander.expand("${file:key}/${file:" + str(tmp_path / "key") + "}") == "secret/secret"
    assert expander.files == [tmp_path / "key", tmp_path / "key"]


def test_files_that_cannot_be_used_are_faults(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * (MAX_FILE + 1))
    (tmp_path / "binary").write_bytes(b"\xff")
    os.mkfifo(tmp_path / "pipe")
    for name, message in (
        ("none", "No such file"),
        (".", "not a regular file"),
        ("pipe", "not a regular file"),
        ("large", "larger than"),
        ("binary", "not UTF-8"),
        ("nul\0", "a file's path"),
    ):
        with pytest.raises(ExpandError, match=message):
            expand("${file:" + name + "}", base=tmp_path)


def test_sole_placeholders() -> None:
    assert sole_placeholder("${A:-b}")
    assert not sole_placeholder("x${A}")
    assert not sole_placeholder("${A}${B}")
    assert not sole_placeholder("$${")
    assert sole_variable("${A:-b}") == "A"
    assert sole_variable("${file:x}") is None
    assert sole_variable("A") is None
