"""What an answer says, whatever API it is told in."""

from __future__ import annotations

import json
from typing import NamedTuple

from tests.support.fake_openai.samples import sample
from tests.support.fake_vendors.heard import Heard

PROMPT, COMPLETION, CACHED, THOUGHTS = 11, 7, 5, 3
"""Tokens of every answer; thoughts are among those of the completion."""
BEGINNING = "You said: "
"""The first piece of a plain answer."""


class Said(NamedTuple):
    """The pieces of a text, or the names of the functions to call."""

    pieces: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()


def said(heard: Heard) -> Said:
    """What to answer."""
    text = heard.texts[-1] if heard.texts else ""
    if heard.results:
        return Said(("Tools said: ", ", ".join(heard.results)))
    if heard.tools and heard.choice != "none":
        return Said(calls=heard.tools[: 1 if heard.single else 2])
    if heard.schema is not None:
        return Said((json.dumps(sample(heard.schema, text)),))
    return Said((BEGINNING, text))
