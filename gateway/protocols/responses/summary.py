"""``compaction`` items: a summary that stands for what was said before, sealed (:mod:`gateway.protocols.sealed`)."""

from __future__ import annotations

from typing import Any, Final

from gateway.protocols.base import Json
from gateway.protocols.responses.checks import refusal, string
from gateway.protocols.sealed import is_sealed, unseal

FIELD: Final = "summary"
"""Of what is sealed."""
_TOLD: Final = "This is what was said before, summed up:\n"


def summary_of(item: Json, where: str) -> str | None:
    """What an item says to a model; None for one that another made. Raises
    :class:`~gateway.kernel.errors.GatewayError` for a damaged one.
    """
    content = string(item.get("encrypted_content"), f"{where}.encrypted_content")
    if not is_sealed(content):
        return None
    try:
        told: Any = unseal(content).get(FIELD)
    except ValueError:
        told = None
    if not isinstance(told, str):
        raise refusal("The encrypted content could not be read: it was changed.", f"{where}.encrypted_content")
    return _TOLD + told
