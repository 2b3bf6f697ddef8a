from __future__ import annotations

from pathlib import Path

import pytest

from gateway.routing.model import Model
from gateway.routing.training.run import Trained
from tests.unit.routing import material


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of made-up outcomes."""
    return material.folder(tmp_path_factory.mktemp("outcomes"))


@pytest.fixture(scope="session")
def trained(data: Path) -> Trained:
    """A router trained on it."""
    return material.trained(data)


@pytest.fixture(scope="session")
def model(trained: Trained) -> Model:
    """The trained model."""
    return trained.model
