"""What the engine serves, taken from the ``llama_cpp`` providers of the settings."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.local.catalog import model_id
from gateway.settings.model import LlamaCpp, Settings

_LOG = logging.getLogger("gateway.local")


@dataclass(frozen=True)
class ModelSpec:
    """One model to serve: its public id, where its weights come from, and how to run it."""

    id: str
    reference: str
    provider: str
    options: LlamaCpp


@dataclass(frozen=True)
class EngineSettings:
    """Everything the engine takes from ``gateway.yaml``."""

    models: Mapping[str, ModelSpec]
    queue: int
    memory_budget: int
    max_body_bytes: int
    drain: float


def engine_settings(settings: Settings, base: Path) -> EngineSettings:
    """The engine's part of the settings; paths to weights start at ``base``.

    The first provider that names a model wins; queues and memory budgets of several providers add up.
    """
    models: dict[str, ModelSpec] = {}
    providers = [provider for provider in settings.providers if provider.kind == "llama_cpp"]
    for provider in providers:
        references = ([provider.model] if provider.model else []) + list(provider.models)
        for reference in dict.fromkeys(references):
            path = str(base / Path(reference).expanduser()) if reference.endswith(".gguf") else reference
            spec = ModelSpec(model_id(reference), path, provider.name, provider.llama_cpp)
            if models.setdefault(spec.id, spec) != spec:
                first = models[spec.id].provider
                _LOG.warning("Model %s of provider %s is served by %s", spec.id, provider.name, first)
    return EngineSettings(
        models=models,
        queue=sum(provider.llama_cpp.queue for provider in providers) or LlamaCpp().queue,
        memory_budget=sum(provider.llama_cpp.memory_budget for provider in providers) or LlamaCpp().memory_budget,
        max_body_bytes=settings.server.max_body_bytes,
        drain=settings.server.drain,
    )
