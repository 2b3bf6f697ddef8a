"""What the tests of all nouns share."""

from __future__ import annotations

import pytest

from gateway.store.engine import Store
from tests.support.accounts import Accounts


@pytest.fixture
def accounts(store: Store) -> Accounts:
    """Works over an empty database, over both databases in turn."""
    return Accounts(store)
