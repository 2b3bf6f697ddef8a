from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from gateway.routing.features import ROWS
from gateway.routing.training import calibration, crossing, frontier, priors, reporting, ridge
from gateway.routing.training.outcomes import DataFault, Outcomes, read
from gateway.routing.training.run import Trained, shuffled, train


@pytest.fixture(scope="module")
def outcomes(data: Path) -> Outcomes:
    return read(data)


def test_ridge_finds_what_the_normal_equations_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ridge, "TOLERANCE", 1e-5)
    generator = np.random.default_rng(3)
    rows = sparse.random_array((60, 20), density=0.3, rng=generator, dtype=np.float32).tocsr()
    targets = generator.normal(size=(60, 3)).astype(np.float32)
    targets[generator.random((60, 3)) < 0.2] = np.nan
    found = ridge.solve(rows, targets, 2.0, 60)
    dense = rows.toarray()
    for column in range(3):
        known = ~np.isnan(targets[:, column])
        part = dense[known]
        exact = np.linalg.solve(part.T @ part + 2.0 * np.eye(20), part.T @ targets[known, column])
        assert found[:, column] == pytest.approx(exact, abs=0.01)


def test_a_prompt_is_a_row_of_unit_length() -> None:
    rows = ridge.rows_of(["moon heart", "", "moon moon moon " * 100])
    assert rows.shape == (3, ROWS)
    assert np.sqrt(rows.multiply(rows).sum(axis=1)) == pytest.approx(1.0, abs=1e-5)


def test_rates_of_few_observations_are_drawn_to_ability_and_difficulty(outcomes: Outcomes) -> None:
    whole = priors.learn(outcomes)
    weak, algebra = outcomes.models.index("weak"), outcomes.tasks.index("algebra")
    assert whole.rate[algebra, weak] == pytest.approx(0.2, abs=0.06)
    kept = outcomes.score.copy()
    kept[outcomes.task_of == algebra, weak] = np.nan
    unseen = priors.learn(replace(outcomes, score=kept))
    assert unseen.seen[algebra, weak] == 0
    assert unseen.rate[algebra, weak] == pytest.approx(unseen.likely[algebra, weak])
    assert whole.rate[algebra, weak] < unseen.rate[algebra, weak] < whole.rate[:, weak].max()


def test_answers_lengths_are_learnt_or_taken_for_usual(outcomes: Outcomes) -> None:
    found = priors.learn(outcomes)
    assert found.tokens == pytest.approx(np.full(found.tokens.shape, 72.0), rel=0.1)
    without = priors.learn(replace(outcomes, tokens=np.full_like(outcomes.tokens, np.nan)))
    assert without.tokens == pytest.approx(priors.USUAL_TOKENS)


def test_calibration_finds_the_numbers_that_made_the_scores() -> None:
    generator = np.random.default_rng(4)
    evidence = np.stack(
        [np.ones(20_000), generator.normal(size=20_000), generator.normal(size=20_000) / 4], axis=1
    ).astype(np.float32)
    truth = np.array([0.3, 0.7, 2.0])
    scores = (generator.random(20_000) < 1 / (1 + np.exp(-evidence @ truth))).astype(np.float32)
    assert calibration.calibrate(evidence, scores) == pytest.approx(truth, abs=0.15)
    assert calibration.calibrate(evidence[:0], scores[:0]) == pytest.approx(calibration.START)


def test_questions_stay_together_and_folds_are_even(outcomes: Outcomes) -> None:
    fold = crossing.folds(outcomes)
    assert all(len(set(fold[outcomes.group == group])) == 1 for group in set(outcomes.group.tolist()))
    assert np.bincount(fold, minlength=crossing.FOLDS).min() > 150


def test_shuffling_keeps_a_sets_scores_and_moves_them(outcomes: Outcomes) -> None:
    gaps = outcomes.score.copy()
    gaps[::3, 0] = np.nan
    outcomes = replace(outcomes, score=gaps)
    mixed = shuffled(outcomes)
    assert (np.isnan(mixed.score) == np.isnan(gaps)).all()
    for number in range(len(outcomes.sets)):
        members = outcomes.set_of == number
        assert np.nansum(mixed.score[members], 0) == pytest.approx(np.nansum(outcomes.score[members], 0))
    assert (mixed.score[:, 1] != outcomes.score[:, 1]).mean() > 0.1


def test_a_field_where_the_cheap_model_is_known_to_be_right_costs_its_price() -> None:
    right = np.tile([True, False], 200)
    scores = np.stack([np.ones(400), right.astype(float)], axis=1)
    costs = np.tile([10.0, 1.0], (400, 1))
    field = frontier.Field(np.stack([np.full(400, 0.99), right * 0.98], axis=1), scores, costs, np.arange(400) % 5)
    assert field.best == 0
    found = frontier.bought(field, (1.0,))[0]
    assert found.quality.value == pytest.approx(1.0)
    assert found.price.value == pytest.approx(0.55)


def test_the_best_single_model_is_one_that_was_asked_everything() -> None:
    scores = np.stack([np.full(100, 0.6), np.where(np.arange(100) < 20, 1.0, np.nan)], axis=1)
    field = frontier.Field(scores, scores, np.ones((100, 2)), np.zeros(100, np.int64))
    assert field.best == 0


def test_the_report_tells_every_number(trained: Trained) -> None:
    text = reporting.markdown(trained)
    assert "Trained on 1000 prompts with 3000 outcomes of made, other (dev, train)" in text
    assert "cross-validation, 5 folds of questions" in text
    for way in ("**router**", "length", "shuffled"):
        assert f"| {way} |" in text
    found = reporting.document(trained)
    assert {pair["name"] for pair in found["pairs"]} >= {"made", "made: law"}
    assert found["error"] == pytest.approx(trained.evaluation.error)


def test_a_part_can_be_held_out(data: Path) -> None:
    held = train(data, lambda text: None, hold_out="dev", among={"two": ["strong", "weak", "middling"]})
    assert held.prompts == 800
    assert held.model.about["parts"] == "train"
    pair = next(pair for pair in held.evaluation.pairs if pair.name == "made")
    assert pair.prompts == 200
    assert pair.router.apgr.value > 0.55
    assert {market.name for market in held.evaluation.markets} == {"made", "two"}


def test_what_can_not_be_trained_is_told(data: Path) -> None:
    with pytest.raises(DataFault, match="expected one of the parts dev, train; there is no test"):
        train(data, lambda text: None, hold_out="test")
    with pytest.raises(DataFault, match="gpt-9 unknown"):
        train(data, lambda text: None, among={"x": ["gpt-9"]})
