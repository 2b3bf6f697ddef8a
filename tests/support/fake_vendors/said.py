"""What an answer says, whatever API it is told in."""

from __future__ import annotations

from typing import NamedTuple

PROMPT, COMPLETION, CACHED, THOUGHTS = 11, 7, 5, 3
"""Tokens of every answer; thoughts are among those of the completion."""


class Said(NamedTuple):
    """The pieces of a text, or the names of the functions to call."""

    pieces: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()


def said(user: str, tools: list[str], results: list[str]) -> Said:
    """What to answer."""
    if results:
        return Said(("Tools said: ", ", ".join(results)))
    if tools:
        return Said(calls=tuple(tools[:2]))
    return Said(("You said: ", user))
