from __future__ import annotations

import pytest

from gateway.routing.explaining import explain
from gateway.routing.model import Model
from gateway.routing.panel import Panel

SUM = "solve equation x y integer polynomial factor root 12"


def test_the_words_of_the_task_are_the_reasons(model: Model) -> None:
    found = explain(model, SUM, 6)
    assert (found.task, found.set) == ("algebra", "made")
    words = {word for reason in found.reasons for word in reason.feature.split()}
    assert words & set(SUM.split())
    assert all(len(each.reasons) <= 6 for each in found.models)
    assert [abs(reason.by) for reason in found.reasons] == sorted(
        (abs(each.by) for each in found.reasons), reverse=True
    )


def test_probabilities_are_those_of_a_decision_the_best_first(model: Model) -> None:
    found = explain(model, SUM)
    panel = Panel(model, model.models)
    told = {name: each.probability for name, each in zip(panel.names, panel(SUM).qualities, strict=True)}
    assert {each.model: each.probability for each in found.models} == pytest.approx(told)
    assert found.models[0].model == "strong"


@pytest.mark.parametrize("prompt", ["", "\ud800", "?" * 5_000])
def test_any_prompt_is_explained(model: Model, prompt: str) -> None:
    assert len(explain(model, prompt, 50).models) == len(model.models)
