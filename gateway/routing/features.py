"""A prompt as the numbers of its hashed features: words and punctuation, pairs of neighbours, structural counts.

Everything is integer arithmetic modulo 2^32 over the prompt's UTF-8 bytes, so the numbers are the same in every process
and on every platform. A word is hashed as the polynomial sum(value(byte) * G^position): one reduction over all bytes
gives the hashes of all words, and multiplying by the inverse of G^start makes them independent of where a word stands.

A prompt longer than ``HEAD + TAIL`` characters is read at its beginning and its end; its length alone counts whole.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

BITS: Final = 16
WORDS: Final = 1 << BITS
"""Rows that words and pairs share."""
STEPS: Final = 16
"""Rows of one structural count: its size in steps of two thirds of an octave."""
HEAD: Final = 2_048
TAIL: Final = 1_024
"""Characters of a long prompt that are read, from its beginning and its end."""

COUNTED: Final[dict[str, bytes]] = {
    "digits": b"0123456789",
    "dollar signs": b"$",
    "backslashes": b"\\",
    "braces": b"{}",
    "brackets": b"()[]",
    "operators": b"+-*/=<>^",
    "question marks": b"?",
    "exclamation marks": b"!",
    "full stops": b".",
    "commas": b",",
    "colons": b":;",
    "line ends": b"\n",
    "quotation marks": b"\"'`",
    "underscores": b"_",
    "capital letters": bytes(range(65, 91)),
    "small letters": bytes(range(97, 123)),
    "bytes beyond ASCII": bytes(range(128, 256)),
    "spaces": b" ",
}
STRUCTURAL: Final = (*COUNTED, "other marks", "words", "characters")
ROWS: Final = WORDS + STEPS * len(STRUCTURAL)
"""How many different numbers there are."""

_MODULUS: Final = 1 << 32
_G: Final = 0x9E3779B1  # odd, so that it has an inverse; 2^32 divided by the golden ratio
_ODD: Final = np.uint32(0x85EBCA77)
_PAIR: Final = np.uint32(0xC2B2AE3D)
_SHIFT: Final = np.uint32(32 - BITS)
_SPACE: Final = 0
WORD: Final = 1
_MARK: Final = 2
_MOST_BYTES: Final = 4 * (HEAD + TAIL) + 1


def _kinds() -> bytes:
    """Of each byte whether it parts words, belongs to one, or stands alone."""
    kinds = bytearray([_MARK]) * 256
    for byte in range(256):
        if byte <= 32 or byte == 127:
            kinds[byte] = _SPACE
        elif byte >= 128 or chr(byte).isalnum() or byte == ord("_"):
            kinds[byte] = WORD
    return bytes(kinds)


def _classes() -> bytes:
    """Of each byte which structural count it is counted in."""
    classes = bytearray([len(COUNTED)]) * 256
    for number, members in enumerate(COUNTED.values()):
        for byte in members:
            classes[byte] = number
    return bytes(classes)


def _values() -> NDArray[np.uint32]:
    """A number for each byte: 0 where it parts words, the same for a capital and its small letter.

    The others are steps of xorshift32 (Marsaglia 2003).
    """
    values, state = [], 2_463_534_242
    for _ in range(256):
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        values.append(state | 1)
    for byte in range(65, 91):
        values[byte] = values[byte + 32]
    return np.array([0 if KINDS[byte] == _SPACE else values[byte] for byte in range(256)], np.uint32)


def _powers(base: int) -> NDArray[np.uint32]:
    found, power = np.empty(_MOST_BYTES, np.uint32), 1
    for place in range(_MOST_BYTES):
        found[place] = power
        power = power * base % _MODULUS
    return found


def _steps() -> NDArray[np.int64]:
    """Of each count up to 4,096 its step: three to two octaves, reckoned in integers alone."""
    return np.array([min(((count + 1) ** 3).bit_length() // 2, STEPS - 1) for count in range(4_097)], np.int64)


KINDS: Final = _kinds()
"""Of each byte what it is to words: nought parts them, ``WORD`` belongs to one."""
_INSIDE: Final = bytes(kind == WORD for kind in KINDS)
_MARKS: Final = bytes(kind == _MARK for kind in KINDS)
CLASSES: Final = _classes()
"""Of each byte the place of its count in ``STRUCTURAL``."""
VALUES: Final = _values()
"""Of each byte its number in the hash of a word."""
_POWERS: Final = _powers(_G)
_INVERSES: Final = _powers(pow(_G, -1, _MODULUS))
STEP_OF: Final = _steps()
"""Of each count its step; of higher ones the last."""
BASES: Final = WORDS + STEPS * np.arange(len(STRUCTURAL), dtype=np.int64)
"""Of each of ``STRUCTURAL`` its first number."""
_PLACES: Final = np.arange(2 * _MOST_BYTES + len(STRUCTURAL), dtype=np.int32)


class Features:
    """Gives the numbers of a prompt's features. Not to be shared between threads: it has a scratch of its own."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = np.zeros(ROWS, np.int32)

    def __call__(self, prompt: str) -> Indices:
        """Each number once, below ``ROWS``; those of the structural counts, one each, are the last.

        Any string will do, lone surrogates included.
        """
        raw = raw_of(prompt)
        words = _words(raw)
        counts = np.bincount(np.frombuffer(raw.translate(CLASSES), np.uint8), minlength=len(STRUCTURAL))
        counts[-2] = len(words)
        counts[-1] = len(prompt) >> 2
        pairs = words[:-1] * _PAIR
        pairs += words[1:]
        pairs *= _ODD
        sizes = STEP_OF.take(counts, mode="clip")
        sizes += BASES
        every = np.concatenate((words >> _SHIFT, pairs >> _SHIFT, sizes), dtype=np.int64)
        # Each number keeps the place it was written to last: two passes instead of a sort.
        places = _PLACES[: len(every)]
        last = self._last
        last[every] = places
        found: Indices = every[last.take(every) == places]
        return found


def raw_of(prompt: str) -> bytes:
    """The bytes of a prompt that are read; lone surrogates as UTF-8 would have them."""
    if len(prompt) > HEAD + TAIL:
        prompt = f"{prompt[:HEAD]}\n{prompt[-TAIL:]}"
    try:
        return prompt.encode()
    except UnicodeEncodeError:
        return prompt.encode("utf-8", "surrogatepass")


def _words(raw: bytes) -> NDArray[np.uint32]:
    """A hash of each word and each punctuation mark, in their order.

    What parts words has the value 0, so that a word may be added up until the next one begins.
    """
    inside = np.frombuffer(b"\x00" + raw.translate(_INSIDE), np.bool_)
    begins = np.greater(inside[1:], inside[:-1])
    begins |= np.frombuffer(raw.translate(_MARKS), np.bool_)
    starts = begins.nonzero()[0]
    if not len(starts):
        return np.empty(0, np.uint32)
    values = VALUES.take(np.frombuffer(raw, np.uint8))
    values *= _POWERS[: len(raw)]
    hashes: NDArray[np.uint32] = np.add.reduceat(values, starts, dtype=np.uint32)
    hashes *= _INVERSES.take(starts)
    return hashes


def named(prompt: str) -> dict[int, str]:
    """What stands behind each number of a prompt, for people: the first of those that share one.

    A pair is shown as two words with a space between.
    """
    raw = raw_of(prompt)
    texts = [text.decode(errors="replace") for text in _texts(raw)]
    words = _words(raw)
    found: dict[int, str] = {}
    for number, text in zip((words >> _SHIFT).tolist(), texts, strict=True):
        found.setdefault(number, text)
    pairs = ((words[:-1] * _PAIR + words[1:]) * _ODD) >> _SHIFT
    for number, first, second in zip(pairs.tolist(), texts, texts[1:], strict=False):
        found.setdefault(number, f"{first} {second}")
    return found


def name_of_count(number: int) -> str:
    """What a number of ``WORDS`` or more says of a structural count."""
    count, step = divmod(number - WORDS, STEPS)
    return f"{STRUCTURAL[count]}: {step} of {STEPS - 1}" if step else f"no {STRUCTURAL[count]}"


def _texts(raw: bytes) -> list[bytes]:
    found: list[bytes] = []
    begin = 0
    for place in range(1, len(raw) + 1):
        kind = KINDS[raw[begin]]
        if place == len(raw) or kind == _MARK or KINDS[raw[place]] != kind:
            if kind != _SPACE:
                found.append(raw[begin:place])
            begin = place
    return found
