"""Learned routes: how a model's targets are weighed against each other, and what ``model: auto`` chooses from."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from gateway.settings.fields import FilePath, Name, Section, about

Goal = Literal["cost", "speed", "quality", "balanced"]


class Weighing(Section, frozen=True, kw_only=True):
    """How a learned route weighs its targets."""

    optimize_for: Annotated[Goal, about("What counts most where a request does not say: see docs/routing.md.")] = (
        "balanced"
    )
    exploration: Annotated[
        float,
        Meta(ge=0, le=0.5),
        about("Share of the requests for which any target of nearly the same quality is taken, to learn; 0: none."),
    ] = 0.02
    margin: Annotated[
        float, Meta(ge=0, le=1), about("How much less quality than the best choice a target may have to be explored.")
    ] = 0.05


class ModelRouting(Weighing, frozen=True, kw_only=True):
    """What the learned router does for a model: it chooses under the strategy ml, and only watches with shadow."""

    shadow: Annotated[
        bool, about("Whether decisions are only recorded: the model's strategy, for ml the order of targets, goes on.")
    ] = False


class Auto(Weighing, frozen=True, kw_only=True):
    """The model auto, which is there without being configured: the router chooses among targets of other models."""

    enabled: Annotated[bool, about("Whether auto, and POST /v1/ml/route, can be asked for.")] = True
    models: Annotated[
        tuple[Name, ...], about("Models whose targets it chooses from. Empty: all that the caller's key may use.")
    ] = ()


class Routing(Section, frozen=True, kw_only=True):
    """The learned router, for models with the strategy ml and for auto. It needs the ``routing`` extra."""

    weights: Annotated[
        FilePath | None, about("Folder that gateway router train wrote. Absent: the weights that ship.")
    ] = None
    auto: Auto = Auto()
