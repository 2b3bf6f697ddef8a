"""The settings used where there is no ``gateway.yaml``: the model that runs on this machine."""

from __future__ import annotations

from gateway.settings.model import Model, Provider, Settings, Target

MODEL = "smollm2-135m-instruct"
ALIAS = "small"


def embedded() -> Settings:
    """A small model on this machine, under its own name and as ``small``. The same as the shipped ``gateway.yaml``.

    Agents that have every model think reach it too: what they ask of that is left out.
    """
    target = Target(provider="local", model=MODEL)
    local = Provider(name="local", kind="llama_cpp", model=MODEL, drop_params=("reasoning_effort", "thinking"))
    return Settings(
        providers=(local,),
        models=(Model(name=MODEL, targets=(target,)), Model(name=ALIAS, targets=(target,))),
    )
