"""A YAML parser's complaint in words that say what to do.

The words of both parsers of PyYAML are known, that of libyaml and that in Python. Nothing of the file is repeated: what
the parser stumbled on may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import yaml

_INDENTATION = "the indentation does not match the lines above"
_QUOTES = "put this text in quotes"
_TAB = "a tab: YAML is indented with spaces"
_BLOCK = re.compile(
    r"did not find expected (key|'-' indicator|<document start>)|expected '?<(block end|document start)>"
)
_CLOSING = re.compile(r"expected ',' or '[\]}]'")


def complaint(error: yaml.MarkedYAMLError, lines: Sequence[str]) -> str:
    """What is wrong at ``error.problem_mark``. ``lines`` are those of the text."""
    problem, mark = error.problem or "", error.problem_mark
    line = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
    before = line[: mark.column] if mark is not None else ""
    opened = f" at line {error.context_mark.line + 1}" if error.context_mark is not None else ""
    if "cannot start any token" in problem:
        # The mark is at the character itself.
        return _TAB if line[len(before) :].startswith("\t") else _QUOTES
    if "tab character" in problem:
        return _TAB
    if "end of stream" in problem and "quoted scalar" in (error.context or ""):
        return f"a quote is opened{opened} and never closed"
    if _CLOSING.search(problem):
        return f"a [ or {{ is not closed, or a comma is missing after one of its entries; it opens{opened}"
    if problem.startswith("mapping values are not allowed"):
        return f"a text with a colon in it: {_QUOTES}" if ": " in before else _INDENTATION
    if _BLOCK.search(problem):
        return _QUOTES if before.strip() else _INDENTATION
    if "could not find expected ':'" in problem:
        return f"a key without a colon{opened}"
    if "unknown escape character" in problem:
        return "a backslash has a meaning between double quotes: use single ones"
    return re.sub(r"['\"].*", "…", problem or "this is not YAML")
