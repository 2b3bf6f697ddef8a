"""The numbers of a prompt's features byte by byte: what :mod:`~gateway.routing.features` finds, without NumPy.

Compiled, it takes a tenth of the time of NumPy's two dozen calls; run from source it would take several times as long,
so it is for where it was compiled (:mod:`~gateway.routing.summing`). Local numbers and those of a ``vec`` are C's, of
64 bits: what is cut to 32 may have overflown before.
"""

from __future__ import annotations

from typing import Final

from librt.vecs import vec

from gateway.routing.features import (
    BASES,
    CLASSES,
    HEAD,
    KINDS,
    STEP_OF,
    STRUCTURAL,
    TAIL,
    VALUES,
    WORD,
    WORDS,
    raw_of,
)
from gateway.routing.widths import i64

MOST: Final = 8 * (HEAD + TAIL) + 64
"""No prompt has as many features."""
# As in features.py; literals, which the compiler takes as they are.
_G: Final = 0x9E3779B1
_ODD: Final = 0x85EBCA77
_PAIR: Final = 0xC2B2AE3D
_LOW: Final = 0xFFFFFFFF
_SHIFT: Final = 16
_BIT: Final = 0x80000000  # the highest of 32, which are moved down: a 1 that is moved up would be C's int
_BEHIND: Final = 32  # bits of a byte's value; behind them two of its kind, behind these its class


class Scanner:
    """Finds the numbers of a prompt's features. Not to be shared between threads: it has a scratch of its own."""

    __slots__ = ("_bases", "_bytes", "_counts", "_marks", "_steps", "found")

    def __init__(self) -> None:
        told = [
            value | kind << _BEHIND | place << _BEHIND + 2
            for value, kind, place in zip(VALUES.tolist(), KINDS, CLASSES, strict=True)
        ]
        self._bytes = vec[i64](told)
        self._steps = bytes(STEP_OF.tolist())
        self._bases = vec[i64](BASES.tolist())
        self._counts = vec[i64]([0] * len(STRUCTURAL))
        self._marks = vec[i64]([0] * (WORDS >> 5))  # of each number, a bit each, whether it was found in this prompt
        self.found = vec[i64]([0] * MOST)
        """The numbers of the prompt read last, and what is left of others."""

    def __call__(self, prompt: str) -> i64:
        """Writes each number to ``found`` once, and returns how many; those of the structural counts, one each, are the
        last. Any string will do.
        """
        raw = raw_of(prompt)
        counts, steps, bases, found = self._counts, self._steps, self._bases, self.found
        place: i64 = 0
        kinds: i64 = len(STRUCTURAL)
        while place < kinds:
            counts[place] = 0
            place += 1
        many = self._scan(raw)
        counts[kinds - 1] = len(prompt) >> 2
        most: i64 = len(steps) - 1
        count: i64 = 0
        step: i64 = 0
        place = 0
        while place < kinds:
            count = counts[place]
            step = steps[count if count < most else most]
            found[many] = bases[place] + step
            many += 1
            place += 1
        return many

    def _scan(self, raw: bytes) -> i64:
        """Note words and pairs, each once, and count bytes and words; returns how many were noted."""
        told, marks, counts, found = self._bytes, self._marks, self._counts, self.found
        many: i64 = 0
        at: i64 = 0
        end: i64 = len(raw)
        byte: i64 = 0
        about: i64 = 0
        hashed: i64 = 0
        power: i64 = 0
        last: i64 = 0
        words: i64 = 0
        number: i64 = 0
        bit: i64 = 0
        while at < end:
            byte = raw[at]
            about = told[byte]
            at += 1
            counts[about >> _BEHIND + 2] += 1
            if not about >> _BEHIND & 3:
                continue
            hashed = about & _LOW
            power = 1
            while about >> _BEHIND & 3 == WORD and at < end:
                byte = raw[at]
                about = told[byte]
                if about >> _BEHIND & 3 != WORD:
                    break
                power = power * _G & _LOW
                hashed += (about & _LOW) * power
                counts[about >> _BEHIND + 2] += 1
                at += 1
            hashed &= _LOW
            number = hashed >> _SHIFT
            bit = _BIT >> (number & 31)
            if not marks[number >> 5] & bit:
                marks[number >> 5] |= bit
                found[many] = number
                many += 1
            if words:
                number = ((last * _PAIR + hashed & _LOW) * _ODD & _LOW) >> _SHIFT
                bit = _BIT >> (number & 31)
                if not marks[number >> 5] & bit:
                    marks[number >> 5] |= bit
                    found[many] = number
                    many += 1
            last = hashed
            words += 1
        counts[len(STRUCTURAL) - 2] = words
        at = 0
        while at < many:
            marks[found[at] >> 5] = 0
            at += 1
        return many
