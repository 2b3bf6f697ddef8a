"""What learned routes need is checked with the rest of the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings import learned_checks
from gateway.settings.faults import ConfigError
from gateway.settings.load import load

TARGETS = "targets: [{provider: p, model: x}]"
PROVIDER = "providers: [{name: p, base_url: http://127.0.0.1:9/v1}]\n"


def read(directory: Path, text: str) -> list[str]:
    """The faults, as they are printed."""
    path = directory / "gateway.yaml"
    path.write_text(PROVIDER + text)
    try:
        load(path, {})
    except ConfigError as error:
        return [str(fault) for fault in error.faults]
    return []


def test_a_learned_route_is_usable(tmp_path: Path) -> None:
    assert read(tmp_path, f"models: [{{name: m, strategy: ml, {TARGETS}}}]") == []
    assert read(tmp_path, f"models: [{{name: m, routing: {{shadow: true}}, {TARGETS}}}]") == []


@pytest.mark.parametrize("how", ["strategy: ml", "routing: {shadow: true}"])
def test_without_numpy_it_is_refused_by_the_name_of_the_extra(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learned_checks, "has_numpy", lambda: False)
    (fault,) = read(tmp_path, f"models: [{{name: m, {how}, {TARGETS}}}]")
    assert "extra 'routing'" in fault
    assert ".[routing]" in fault
    assert read(tmp_path, f"models: [{{name: m, {TARGETS}}}]") == []


def test_weights_and_models_must_be_there(tmp_path: Path) -> None:
    (fault,) = read(tmp_path, "routing: {weights: nowhere}")
    assert "there is no folder" in fault
    (tmp_path / "trained").mkdir()
    assert read(tmp_path, "routing: {weights: trained}") == []
    assert load(tmp_path / "gateway.yaml", {}).routing.weights == str(tmp_path / "trained")
    (fault,) = read(tmp_path, f"models: [{{name: small, {TARGETS}}}]\nrouting: {{auto: {{models: [smal]}}}}")
    assert 'no model "smal"' in fault
    assert "small" in fault
