from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.model import TIERS, Model, tier_of
from gateway.routing.panel import Panel
from gateway.routing.training import combining, crossing, fitting, outcomes, ridge
from gateway.routing.training.run import Trained
from tests.unit.routing import material

POEM = "moon heart rose sonnet stanza metaphor autumn"
SUM = "solve equation x y integer polynomial factor root 12"


def rates(model: Model, prompt: str) -> dict[str, float]:
    """The probability of each model."""
    panel = Panel(model, model.models)
    return {name: each.probability for name, each in zip(panel.names, panel(prompt).qualities, strict=True)}


def test_what_is_known_of_tasks_is_learnt(model: Model) -> None:
    poem, algebra = rates(model, POEM), rates(model, SUM)
    assert poem["weak"] == pytest.approx(0.88, abs=0.12)
    assert algebra["weak"] == pytest.approx(0.2, abs=0.12)
    assert algebra["strong"] == pytest.approx(0.9, abs=0.12)
    assert Panel(model, ["weak"])(SUM).task == "algebra"


def test_one_prompt_gets_what_many_at_once_get(data: object, model: Model) -> None:
    given = outcomes.read(data)  # type: ignore[arg-type]
    rows = ridge.rows_of(given.prompts)
    layout = fitting.layout_of(given)
    crossed = crossing.cross(given, rows, layout)
    fitted = fitting.fit(given, rows, layout)
    scores = fitting.raw(fitted, rows)
    shares = fitting.shares(scores, layout, crossed.heat)
    whole = combining.combine(fitting.evidence(scores, shares, fitted), shares, fitted, crossed.numbers)
    panel = Panel(model, given.models)
    single = np.array([[each.probability for each in panel(prompt).qualities] for prompt in given.prompts])
    # Rounding to whole steps is all that is between them.
    assert np.abs(single - whole).max() < 0.08
    assert np.abs(single - whole).mean() < 0.01


def test_a_panel_of_some_says_what_a_panel_of_all_says(model: Model) -> None:
    every = rates(model, POEM)
    some = Panel(model, ["weak", "strong"])(POEM)
    assert [each.probability for each in some.qualities] == pytest.approx([every["weak"], every["strong"]], abs=1e-5)


def test_a_new_model_starts_from_its_tier(model: Model) -> None:
    medium, frontier = Panel(model, ["medium", "frontier"])(POEM).qualities
    assert frontier.probability > medium.probability
    assert frontier.error > Panel(model, ["strong"])(POEM).qualities[0].error
    hard, easy = (Panel(model, ["frontier"])(prompt).qualities[0].probability for prompt in (SUM, POEM))
    assert easy > hard


def test_a_name_that_nobody_knows_is_refused(model: Model) -> None:
    with pytest.raises(ValueError, match=r"expected a model that was learned or one of the tiers small, .*: gpt-9"):
        Panel(model, ["strong", "gpt-9"])


@given(text=st.text(st.characters(exclude_categories=()), max_size=4_000))
def test_any_prompt_gets_probabilities(model: Model, text: str) -> None:
    view = Panel(model, [*model.models, *TIERS])(text)
    assert 0.0 <= view.familiar <= 1.0
    for each in view.qualities:
        assert 0.0 < each.probability < 1.0
        assert 0.0 < each.error < 0.5
        assert each.tokens > 0


def test_weights_that_say_extremes_give_no_nonsense(model: Model) -> None:
    loud = Model(
        **{name: getattr(model, name) for name in model.__slots__} | {"steps": model.steps * np.float32(10_000)}
    )
    for prompt in (POEM, SUM, "", "x " * 1_500):
        for each in Panel(loud, loud.models)(prompt).qualities:
            assert 0.0 <= each.probability <= 1.0


def test_names_are_matched(model: Model) -> None:
    dated = Model(
        **{name: getattr(model, name) for name in model.__slots__}
        | {"models": ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18")}
    )
    assert dated.match("gpt-4o") == "gpt-4o-2024-08-06"
    assert dated.match("openai/GPT-4o-mini") == "gpt-4o-mini-2024-07-18"
    assert dated.match("gpt-4o-2024-05-13") == "gpt-4o-2024-05-13"
    assert dated.match("gpt-4") is None


@pytest.mark.parametrize(("dollars", "tier"), [(0.1, "small"), (0.6, "medium"), (5.0, "large"), (30.0, "frontier")])
def test_the_tier_is_told_by_the_price(dollars: float, tier: str) -> None:
    assert tier_of(dollars) == tier


def test_the_made_up_truth_is_found_again(trained: Trained) -> None:
    pair = next(pair for pair in trained.evaluation.pairs if pair.name == "made")
    assert pair.prompts == 800
    assert pair.router.apgr.value > 0.6
    assert pair.shuffled.apgr.value < pair.router.apgr.low
    market = next(market for market in trained.evaluation.markets if market.name == "made")
    assert market.best == "strong"
    assert market.router[2].price.value < 0.8
    assert trained.evaluation.error < 0.08
    assert material.TASKS.keys() >= {task.split("@")[0] for task in trained.model.tasks}
