from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from gateway.settings.faults import ConfigError, Fault
from gateway.settings.load import Loaded, read

Read = Callable[..., Loaded]
Faults = Callable[..., dict[str, Fault]]


@pytest.fixture
def read_text(tmp_path: Path) -> Read:
    """Reads a text as ``gateway.yaml`` of an empty directory."""

    def call(text: str | bytes, env: Mapping[str, str] | None = None) -> Loaded:
        path = tmp_path / "gateway.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read(path, env or {})

    return call


@pytest.fixture
def faults_of(read_text: Read) -> Faults:
    """The faults of a text that must be faulty, by dotted path."""

    def call(text: str | bytes, env: Mapping[str, str] | None = None) -> dict[str, Fault]:
        with pytest.raises(ConfigError) as caught:
            read_text(text, env)
        return {fault.path: fault for fault in caught.value.faults if fault.severity == "error"}

    return call
