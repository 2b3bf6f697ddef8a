"""One loaded model shared by the tests of a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.local.binding import Binding
from gateway.local.catalog import locate
from gateway.local.native import LoadedModel
from gateway.settings.model import LlamaCpp

MODEL = "smollm2-135m-instruct"


@pytest.fixture(scope="session")
def binding() -> Binding:
    """The installed engine."""
    return Binding()


@pytest.fixture(scope="session")
def model(binding: Binding) -> Iterator[LoadedModel]:
    """The small model that ships with the ``local`` extra."""
    options = LlamaCpp(context_length=1024, threads=1)
    loaded = LoadedModel(binding.load(), locate(MODEL), options, binding.abort_flag())
    yield loaded
    loaded.close()
