"""What counts as personal data: a pattern that finds candidates, and a check that tells them from look-alikes.

Every pattern is bounded in length and takes linear time: repetitions are bounded, and where one run of characters can
match in several ways the look-behind lets it start at one place only. Checksums come from ``python-stdnum``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any, Literal

from msgspec import Struct
from stdnum import iban, luhn

EntityName = Literal[
    "email",
    "phone",
    "credit_card",
    "iban",
    "ip",
    "us_ssn",
    "br_cpf",
    "ca_sin",
    "de_idnr",
    "es_dni",
    "es_nie",
    "fr_nir",
    "in_aadhaar",
    "it_codice_fiscale",
    "nl_bsn",
    "pl_pesel",
]

Check = Callable[[str], int]
"""How many characters from the start of a candidate are the entity; 0 for none."""


class Entity(Struct, frozen=True):
    """One kind of personal data. ``label`` is the word in its placeholder."""

    label: str
    patterns: tuple[str, ...]
    check: Check = len


_DIGIT = re.compile(r"\d")
_DATE = re.compile(r"\d{1,2}([./\-])\d{1,2}\1\d{2,4}(?!\d)")
_BOUNDARY = re.compile(r"(?<=\w)(?!\w)")


def _phone(text: str) -> int:
    return len(text) if 8 <= len(_DIGIT.findall(text)) <= 15 and not _DATE.match(text) else 0


def _longest(valid: Callable[[str], Any]) -> Check:
    """The longest beginning that is valid and ends with a word: a candidate may have run on into the next words."""

    def check(text: str) -> int:
        ends = [match.start() for match in _BOUNDARY.finditer(text)]
        return next((end for end in reversed(ends) if valid(text[:end])), 0)

    return check


def _is_card(text: str) -> bool:
    digits = text.replace(" ", "").replace("-", "")
    return 13 <= len(digits) <= 19 and digits[0] in "23456" and luhn.is_valid(digits)


def _is_ip(text: str) -> bool:
    if not _DIGIT.search(text):  # "a::b" is code more often than an address
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _ip(text: str) -> int:
    return next((end for end in (len(text), len(text) - 1) if _is_ip(text[:end])), 0)


def _number(module: str) -> Check:
    valid: Callable[[str], Any] = import_module(f"stdnum.{module}").is_valid
    return lambda text: len(text) if valid(text) else 0


_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = rf"(?:{_OCTET}\.){{3}}{_OCTET}"
_HEX = "[0-9A-Fa-f]{0,4}"
# A pattern each for what requires different literals: the search skips to those.
_PHONES = (
    r"(?<![\w+])\+[1-9](?:[ .\-/()]{0,2}\d){6,14}(?!\d)",
    r"(?<![\w+.\-])00[1-9](?:[ .\-/()]{0,2}\d){6,13}(?!\d)",
    r"(?<![\w+.\-])0\d(?:[ .\-/()]{0,2}\d){6,10}(?![\w\-])",
    r"(?<!\w)\(0\d{1,4}\)(?:[ .\-/]{0,2}\d){4,8}(?![\w\-])",
    r"(?<!\w)\(\d{3}\) ?\d{3}[ .\-]\d{4}(?![\w\-])",
    r"(?<![\w+.\-])\d{3}[ .\-]\d{3}-\d{4}(?![\w\-])",
    r"(?<![\w+.\-])\d{3}\.\d{3}\.\d{4}(?![\w\-])",
    r"(?<![\w+.\-])\d{3} \d{3} \d{4}(?![\w\-])",
)
_IPS = (
    rf"(?<![\w.]){_IPV4}(?!\w|\.\d)",
    rf"(?<![\w:.])(?:{_HEX}:){{2,7}}(?:{_IPV4}|{_HEX})(?![\w:])",
)
_NATIONAL: dict[EntityName, tuple[str, str]] = {
    "us_ssn": ("us.ssn", r"\d{3}-\d{2}-\d{4}"),
    "br_cpf": ("br.cpf", r"\d{3}\.?\d{3}\.?\d{3}-?\d{2}"),
    "ca_sin": ("ca.sin", r"\d{3}[ -]\d{3}[ -]\d{3}"),
    "de_idnr": ("de.idnr", r"\d{2} ?\d{3} ?\d{3} ?\d{3}"),
    "es_dni": ("es.dni", r"\d{8}-?[A-Za-z]"),
    "es_nie": ("es.nie", r"[XYZxyz]-?\d{7}-?[A-Za-z]"),
    "fr_nir": ("fr.nir", r"[1-478] ?\d{2} ?\d{2} ?\d[\dABab] ?\d{3} ?\d{3} ?\d{2}"),
    "in_aadhaar": ("in_.aadhaar", r"[2-9]\d{3} ?\d{4} ?\d{4}"),
    "it_codice_fiscale": ("it.codicefiscale", r"[A-Za-z]{6}\d{2}[A-Za-z]\d{2}[A-Za-z]\d{3}[A-Za-z]"),
    "nl_bsn": ("nl.bsn", r"\d{4}\.?\d{2}\.?\d{3}"),
    "pl_pesel": ("pl.pesel", r"\d{11}"),
}


def entity(name: EntityName) -> Entity:
    """The entity of a name in the configuration."""
    match name:
        case "email":
            return Entity("EMAIL", (r"(?<![\w.+%'\-])[\w.+%'\-]{1,64}@(?:[\w\-]{1,63}\.){1,8}[^\W\d_]{2,24}",))
        case "phone":
            return Entity("PHONE", _PHONES, _phone)
        case "credit_card":
            return Entity("CREDIT_CARD", (r"(?<![\w.])\d{4}(?:[ -]?\d){9,15}(?!\d)",), _longest(_is_card))
        case "iban":
            return Entity("IBAN", (r"\b[A-Za-z][A-Za-z]\d\d(?: ?[A-Za-z0-9]){11,30}",), _longest(iban.is_valid))
        case "ip":
            return Entity("IP", _IPS, _ip)
    module, pattern = _NATIONAL[name]
    return Entity(name.upper(), (rf"(?<![\w.\-]){pattern}(?![\w\-])",), _number(module))
