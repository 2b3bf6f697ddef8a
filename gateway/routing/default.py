"""The weights that ship with the program."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gateway.routing import weights
from gateway.routing.model import Model

FOLDER: Final = Path(__file__).parent / "shipped"
"""The weights, and their model card."""


def load() -> Model:
    """The shipped model. Raises :class:`~gateway.routing.weights.WeightsFault` where the installation is broken."""
    return weights.load(FOLDER)
