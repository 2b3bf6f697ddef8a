"""Every client's protocol before every kind of provider: the official SDK, the gateway, and a fake of the vendor's API.

What these find is the matrix of ``docs/protocols.md``: ``make matrix`` writes it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenarios.protocols.matrix.features import FEATURES
from tests.scenarios.protocols.matrix.stand import KINDS, Cell

CLIENTS = ("chat", "responses", "messages")


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_cell(
    cell: Cell, client: str, kind: str, feature: str, record_property: Callable[[str, object], None]
) -> None:
    notes = FEATURES[feature](cell)
    record_property("cell", [client, kind, feature, *notes])
