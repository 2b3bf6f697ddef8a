"""How strongly shifts are drawn to 0 follows from what was found, and what is left in doubt is the posterior's."""

from __future__ import annotations

import random

import numpy as np
import pytest

from gateway.routing import online_trust
from gateway.routing.online_cells import TASK_PRIOR, WHOLE_PRIOR, Quality, sigmoid
from gateway.routing.online_trust import STRENGTHS, doubt, informations, strength_of

TASKS = ("maths", "code", "chat", "law")


def target(seed: int, off: float, answers: int = 300) -> Quality:
    """A target that answers of each task this many prompts, its logits off by ``off`` (standard deviation)."""
    draw, quality = random.Random(seed), Quality()
    for task in TASKS:
        shift = draw.gauss(0.0, off)
        for _ in range(answers):
            quality.add(task, 0.8, float(draw.random() < sigmoid(0.8 + shift)), 1.0, 1e9)
    quality.solve()
    return quality


def test_where_the_weights_are_right_shifts_are_noise() -> None:
    right = strength_of([target(seed, 0.0) for seed in range(4)])
    wrong = strength_of([target(seed, 1.5) for seed in range(4)])
    assert wrong < 0.6 < 6.0 < right
    middle = float(np.exp(np.log(STRENGTHS).mean()))
    assert strength_of([]) == pytest.approx(middle)
    assert strength_of([Quality(), target(1, 1.5, answers=1)]) == pytest.approx(middle), "too few to say anything"


def test_a_stronger_prior_leaves_smaller_shifts() -> None:
    quality = target(3, 0.5)
    loose = sum(quality.moved(task) ** 2 for task in TASKS)
    quality.solve(16.0)
    assert sum(quality.moved(task) ** 2 for task in TASKS) < 0.9 * loose


def test_the_likelihood_is_that_of_a_normal_distribution() -> None:
    cells = [(30.0, 0.4), (12.0, -0.3), (55.0, 0.1)]
    told, true = [], []
    for strength in STRENGTHS:
        covariance = np.diag([1.0 / information + 1.0 / (TASK_PRIOR * strength) for information, _ in cells])
        covariance += 1.0 / (WHOLE_PRIOR * strength)
        found = np.array([each for _, each in cells])
        true.append(-0.5 * (np.linalg.slogdet(covariance)[1] + found @ np.linalg.inv(covariance) @ found))
        told.append(online_trust._likelihood(cells, strength))
    assert np.array(told) == pytest.approx(np.array(true))


@pytest.mark.parametrize("strength", [0.5, 4.0])
def test_doubt_is_the_standard_deviation_of_what_is_known(strength: float) -> None:
    known = {"maths": 40.0, "code": 3.0, "chat": 0.0}
    # Of the whole shift and three tasks' the precision, whose inverse is their covariance.
    precision = np.diag([WHOLE_PRIOR * strength, *[TASK_PRIOR * strength] * 3])
    for place, information in enumerate(known.values(), 1):
        precision[0, 0] += information
        precision[place, place] += information
        precision[0, place] = precision[place, 0] = information
    covariance = np.linalg.inv(precision)
    for place, task in enumerate(known, 1):
        true = covariance[0, 0] + covariance[place, place] + 2.0 * covariance[0, place]
        assert doubt(known, task, strength) ** 2 == pytest.approx(true)
    unseen = covariance[0, 0] + 1.0 / (TASK_PRIOR * strength)
    assert doubt(known, "law", strength) ** 2 == pytest.approx(unseen)


def test_answers_take_doubt_away() -> None:
    few, many = informations(target(1, 0.3, answers=20)), informations(target(1, 0.3))
    assert set(few) == set(TASKS)
    assert doubt(many, "code", 1.0) < doubt(few, "code", 1.0) < doubt(few, "poems", 1.0) < doubt({}, "code", 1.0)
