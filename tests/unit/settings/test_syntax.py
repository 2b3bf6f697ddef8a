"""What is said of text that is not YAML, by either of PyYAML's parsers."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from gateway.settings import document
from gateway.settings.document import parse

INDENTATION = "the indentation does not match the lines above"
TAB = "a tab: YAML is indented with spaces"
QUOTES = "put this text in quotes"
CLOSE = "a [ or { is not closed, or a comma is missing after one of its entries; it opens at line 1"

CASES = [
    ("server:\n  port: 1\n   host: x\n", 3, INDENTATION),
    ("server:\n  port: 1\n host: x\n", 3, INDENTATION),
    ("providers:\n  - name: x\n   base: y\n", 3, INDENTATION),
    ("  a: 1\nb: 2\n", 2, INDENTATION),
    ("- a\nb: 1\n", 2, INDENTATION),
    ("server:\n\tport: 1\n", 2, TAB),
    ("a: b\n\tc: d\n", 2, TAB),
    ("a: |\n\tx\n", 2, TAB),
    ("a: @b\n", 1, QUOTES),
    ("a: `b\n", 1, QUOTES),
    ("a: 'it's'\n", 1, QUOTES),
    ("a: b: c\n", 1, f"a text with a colon in it: {QUOTES}"),
    ('x: 1\na: "b\nc: 1\n', 4, "a quote is opened at line 2 and never closed"),
    ("a: [1, 2\nb: 3\n", 2, CLOSE),
    ("a: [1, 2", 1, CLOSE),
    ("a: {b: 1\nc: 2\n", 2, CLOSE),
    ("a: [{b: 1} {c: 2}]", 1, CLOSE),
    ("a: 1\nb\nc: 2\n", 3, "a key without a colon at line 2"),
    ('a: "\\w"', 1, "a backslash has a meaning between double quotes: use single ones"),
]


@pytest.mark.parametrize("loader", [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)])
@pytest.mark.parametrize(("text", "line", "message"), CASES)
def test_a_complaint_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, loader: Any, text: str, line: int, message: str
) -> None:
    monkeypatch.setattr(document, "_LOADER", loader)
    (fault,) = parse(text.encode(), "gateway.yaml").faults
    assert (fault.line, fault.message) == (line, f"this is not valid YAML: {message}")
