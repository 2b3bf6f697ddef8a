"""Placeholders: what stands for what within one request."""

from __future__ import annotations

from collections.abc import Sequence

import regex

from gateway.plugin.arguments import ArgumentsFilter
from gateway.plugin.scan import Decide, ScanFilter, Scanner, TextFilter
from plugins.pii_redaction.entities import Entity

MAX_PLACEHOLDERS = 10_000
"""Distinct texts of one request that get a number of their own; further ones are redacted without."""

_PLACEHOLDERS = (r"(?i:<(LABELS)_(\d{1,6})>)", r"(?i:&lt;(LABELS)_(\d{1,6})&gt;)")


class Detector:
    """The configured entities as one scanner, made once. ``timeout`` is for patterns of the configuration."""

    def __init__(self, entities: Sequence[Entity], timeout: float | None) -> None:
        self._entities = [(entity, [regex.compile(pattern) for pattern in entity.patterns]) for entity in entities]
        self.timeout = timeout
        found = [pattern for entity in entities for pattern in entity.patterns]
        labels = "|".join(sorted({entity.label for entity in entities}))
        placeholders = [pattern.replace("LABELS", labels) for pattern in _PLACEHOLDERS]
        self.outgoing = Scanner(found, timeout)
        self.restoring = Scanner(placeholders)
        self.answering = Scanner([*placeholders, *found], timeout)
        self.placeholders = frozenset(placeholders)
        self.placeholder = regex.compile(placeholders[0])

    def entity_at(self, text: str, start: int) -> tuple[int, str] | None:
        """The end and label of the entity that starts there, in the order of the configuration."""
        for entity, patterns in self._entities:
            for pattern in patterns:
                match = pattern.match(text, start, timeout=self.timeout)
                length = 0 if match is None else entity.check(match.group())
                if length:
                    return start + length, entity.label
        return None


class Session:
    """The placeholders of one request. ``taken`` are the ones its texts already spell out."""

    def __init__(self, detector: Detector, *, reversible: bool, redact_answer: bool, taken: set[str]) -> None:
        self._detector = detector
        self._reversible = reversible
        self._redact_answer = redact_answer
        self._taken = taken
        self._placeholders: dict[str, str] = {}
        self._originals: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    @property
    def used(self) -> bool:
        """Whether a placeholder was given out."""
        return bool(self._placeholders)

    def redact(self, text: str) -> str:
        """A text on its way to the model."""
        return self._detector.outgoing.sub(text, self._outgoing)

    def redact_arguments(self, text: str) -> str:
        """The same for JSON text."""
        return _whole(text, ArgumentsFilter(lambda: self._detector.outgoing.filter(self._outgoing)))

    def filter(self) -> TextFilter:
        """A filter for a text of the answer."""
        return self._scan_answer()

    def restore(self, text: str) -> str:
        """A whole text of the answer."""
        scanner, decide = self._answer()
        return scanner.sub(text, decide)

    def restore_arguments(self, text: str) -> str:
        """The same for JSON text."""
        return _whole(text, ArgumentsFilter(self._scan_answer))

    def _scan_answer(self) -> ScanFilter:
        scanner, decide = self._answer()
        return scanner.filter(decide)

    def _answer(self) -> tuple[Scanner, Decide]:
        return (self._detector.answering if self._redact_answer else self._detector.restoring), self._incoming

    def _outgoing(self, match: regex.Match[str]) -> tuple[int, str] | None:
        found = self._detector.entity_at(match.string, match.start())
        if found is None:
            return None
        end, label = found
        return end, self._placeholder(match.string[match.start() : end], label)

    def _placeholder(self, original: str, label: str) -> str:
        if not self._reversible or len(self._placeholders) >= MAX_PLACEHOLDERS:
            return self._placeholders.get(original, f"<{label}>")
        known = self._placeholders.get(original)
        if known is not None:
            return known
        number = self._counts.get(label, 0) + 1
        while f"{label}_{number}" in self._taken:
            number += 1
        self._counts[label] = number
        placeholder = f"<{label}_{number}>"
        self._placeholders[original] = placeholder
        self._originals[f"{label}_{number}"] = original
        return placeholder

    def _incoming(self, match: regex.Match[str]) -> tuple[int, str] | None:
        if match.re.pattern in self._detector.placeholders:
            label, number = match.groups()
            original = self._originals.get(f"{label.upper()}_{int(number)}")
            return (match.end(), match.group() if original is None else original)
        found = self._detector.entity_at(match.string, match.start())
        if found is None:
            return None
        end, entity = found
        original = match.string[match.start() : end]
        # What the client itself sent is no news to it.
        return end, original if original in self._placeholders else f"<{entity}>"


def _whole(text: str, arguments: ArgumentsFilter) -> str:
    return arguments.feed(text) + arguments.flush()
