"""Lists of words as scanners, and what is done with what they find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import regex
from msgspec import Meta, Struct

from gateway.kernel.errors import GatewayError, Kind
from gateway.plugin.arguments import ArgumentsFilter
from gateway.plugin.scan import Decide, Pipe, Scanner, TextFilter

TIMEOUT = 0.25
"""Seconds that one search for a pattern of the configuration may take."""

Word = Annotated[str, Meta(min_length=1, max_length=500)]


class WordList(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One list of ``keyword_guard``. See the README for each field."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    words: tuple[Word, ...] = ()
    patterns: tuple[Word, ...] = ()
    ignore_case: bool = True
    whole_word: bool = True
    apply: Literal["request", "response", "both"] = "both"
    action: Literal["block", "mask"] = "block"
    mask: Annotated[str, Meta(max_length=100)] = "***"


def check(words: WordList, path: str) -> None:
    """Raise :class:`GatewayError` naming the field where a list cannot be used."""
    if not words.words and not words.patterns:
        raise GatewayError(Kind.INVALID, "plugin_config", "expected at least one of words and patterns", path)
    for index, pattern in enumerate(words.patterns):
        try:
            Scanner([pattern])
        except ValueError as error:
            raise GatewayError(Kind.INVALID, "plugin_config", str(error), f"{path}.patterns[{index}]") from None


def pattern_of(words: WordList) -> str:
    """One regular expression for a whole list, the longest word first."""
    parts = [regex.escape(word) for word in sorted(words.words, key=len, reverse=True)]
    parts += [f"(?:{pattern})" for pattern in words.patterns]
    joined = "|".join(parts)
    bounded = rf"(?<!\w)(?:{joined})(?!\w)" if words.whole_word else f"(?:{joined})"
    return f"(?i:{bounded})" if words.ignore_case else bounded


class Rules:
    """The lists that apply to one direction: blocking ones see the text as it is, masking ones follow in order."""

    def __init__(self, lists: Sequence[WordList], refusal: Kind, where: str) -> None:
        self._stages: list[tuple[Scanner, Decide]] = []
        for words in sorted(lists, key=lambda each: each.action == "mask"):
            # Only patterns can be slow: a list of words is a plain alternation.
            scanner = Scanner([pattern_of(words)], TIMEOUT if words.patterns else None)
            self._stages.append(
                (scanner, _masking(words) if words.action == "mask" else _blocking(words, refusal, where))
            )

    def __bool__(self) -> bool:
        return bool(self._stages)

    def filter(self) -> TextFilter:
        """A filter for one text. It raises :class:`GatewayError` as soon as a blocked word is whole."""
        return Pipe(*[scanner.filter(decide) for scanner, decide in self._stages])

    def text(self, text: str) -> str:
        """A whole text, masked. Raises :class:`GatewayError` for a blocked word."""
        for scanner, decide in self._stages:
            text = scanner.sub(text, decide)
        return text

    def arguments(self, text: str) -> str:
        """The same for JSON text."""
        arguments = ArgumentsFilter(self.filter)
        return arguments.feed(text) + arguments.flush()


def _masking(words: WordList) -> Decide:
    return lambda match: (match.end(), words.mask)


def _blocking(words: WordList, refusal: Kind, where: str) -> Decide:
    def block(match: regex.Match[str]) -> tuple[int, str]:
        # The list is named and the text is not: an error is logged and shown where the text may not be.
        raise GatewayError(refusal, "content_blocked", f"The {where} was blocked by the word list {words.name!r}.")

    return block
