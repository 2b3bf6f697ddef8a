"""The published matrix tells what the tests hold the gateway to."""

from __future__ import annotations

from pathlib import Path

from tests.scenarios.protocols.matrix import stand, table
from tests.scenarios.protocols.matrix.features import FEATURES
from tests.scenarios.protocols.matrix.limits import CLIENTS, LIMITS
from tests.scenarios.protocols.matrix.table import MARKS, Found

PUBLISHED = Path(__file__).parents[4] / "docs" / "protocols.md"


def every() -> list[Found]:
    """The cells that have a test."""
    return [Found(client, kind, feature) for client in CLIENTS for kind in stand.KINDS for feature in FEATURES]


def test_every_kind_and_every_feature_has_its_place() -> None:
    assert tuple(stand.KINDS) == tuple(table.KINDS)
    assert tuple(FEATURES) == table.FEATURES
    for limit in LIMITS.values():
        assert limit.feature in FEATURES
        assert set(limit.kinds) <= stand.KINDS.keys()
        assert set(limit.clients) <= set(CLIENTS)


def test_what_was_not_found_is_not_told() -> None:
    all_but_one = [cell for cell in every() if cell != Found("chat", "openai", "plain")]
    first = next(line for line in table.table(all_but_one).splitlines() if line.startswith("| `openai`"))
    assert first.split(" | ")[1:3] == ["", "yes"]


def test_the_published_one_is_that_of_these_tests() -> None:
    found = MARKS.search(PUBLISHED.read_text("utf-8"))
    assert found is not None
    assert found[0].splitlines()[2:-2] == table.table(every()).splitlines(), "run make matrix"
