"""What shifts are drawn to, and how strongly, follows from what was found; what is left in doubt is the posterior's."""

from __future__ import annotations

import random

import numpy as np
import pytest

from gateway.routing import online_trust
from gateway.routing.online_cells import CHANGE, TASK_PRIOR, WHOLE_PRIOR, Prior, Quality, sigmoid
from gateway.routing.online_trust import STRENGTHS, doubt, informations, prior_of

TASKS = ("maths", "code", "chat", "law")


def target(seed: int, off: float, answers: int = 300, alike: float = 0.0) -> Quality:
    """A target that answers of each task this many prompts, its logits off by ``alike`` and at random by ``off``."""
    draw, quality = random.Random(seed), Quality()
    for task in TASKS:
        shift = alike + draw.gauss(0.0, off)
        for _ in range(answers):
            quality.add(task, 0.8, float(draw.random() < sigmoid(0.8 + shift)), 1.0, 1e9)
    quality.solve()
    return quality


def test_where_the_weights_are_right_shifts_are_noise() -> None:
    right = prior_of([target(seed, 0.0) for seed in range(4)]).strength
    wrong = prior_of([target(seed, 1.5) for seed in range(4)]).strength
    assert wrong < 0.6 < 6.0 < right
    middle = float(np.exp(np.log(STRENGTHS).mean()))
    nothing = prior_of([])
    assert nothing.strength == pytest.approx(middle)
    assert nothing.common == 0.0
    few = prior_of([Quality(), target(1, 1.5, answers=1)])
    assert few.strength == pytest.approx(middle), "too few to say anything"
    assert few.common == 0.0


def test_a_stronger_prior_leaves_smaller_shifts() -> None:
    quality = target(3, 0.5)
    loose = sum(quality.moved(task) ** 2 for task in TASKS)
    quality.solve(Prior(16.0))
    assert sum(quality.moved(task) ** 2 for task in TASKS) < 0.9 * loose


@pytest.mark.parametrize("alike", [-1.0, 1.0])
def test_where_all_are_off_alike_it_is_the_common_shift(alike: float) -> None:
    """As where who reports is stricter, or milder, than what the weights were trained on."""
    targets = [target(seed, 0.1, alike=alike) for seed in range(3)]
    prior = Prior()
    for _ in range(4):
        prior = prior_of(targets, prior.common)
    assert prior.common == pytest.approx(alike, abs=0.2)
    assert prior.strength > 4.0, "beside it the weights are right"
    alone = prior_of(targets, alike=False)
    assert (alone.common, alone.strength < 1.0) == (0.0, True)
    untried = target(9, 0.0, answers=1, alike=alike)
    untried.solve(prior)
    assert untried.shift == pytest.approx(prior.common, abs=0.2)


def test_one_that_is_off_by_itself_moves_no_others() -> None:
    """It may be broken; nor is it known of one alone whether all are."""
    broken = target(3, 0.0, alike=-4.0)
    assert prior_of([broken]).common == 0.0
    assert abs(prior_of([broken, *(target(seed, 0.0) for seed in range(3))]).common) < 0.1
    assert -0.6 < prior_of([broken, target(1, 0.0, alike=-0.5)]).common < -0.2


def test_one_that_has_changed_tells_little_of_the_others() -> None:
    changed, other = target(1, 0.0, answers=20, alike=-1.5), target(2, 0.0, answers=20)
    before = prior_of([changed, other]).common
    changed.changed = True
    assert before < prior_of([changed, other]).common < 0.0


@pytest.mark.parametrize("spread", online_trust.SPREADS)
def test_the_likelihood_is_that_of_a_normal_distribution(spread: float) -> None:
    found = [[(30.0, 0.4), (12.0, -0.3), (55.0, 0.1)], [(8.0, 0.9), (21.0, 0.6)], [(300.0, -0.2)]]
    cells = [each for some in found for each in some]
    of = np.repeat(np.arange(3), [len(some) for some in found])
    told, true, commons, means = [], [], [], []
    for strength in STRENGTHS:
        whole = np.array([1.0 / (WHOLE_PRIOR * strength)] * 2 + [1.0 / (WHOLE_PRIOR * strength) + CHANGE])
        covariance = np.diag([1.0 / information + 1.0 / (TASK_PRIOR * strength) for information, _ in cells])
        covariance += (of[:, None] == of) * whole[of] + spread
        off = np.array([each for _, each in cells])
        true.append(-0.5 * (np.linalg.slogdet(covariance)[1] + off @ np.linalg.inv(covariance) @ off))
        means.append(spread * np.linalg.inv(covariance).sum(0) @ off)
        parts = [online_trust._level(prior, some, strength) for prior, some in zip(whole, found, strict=True)]
        log, common = online_trust._shared(parts, spread)
        told.append(log)
        commons.append(common)
    assert np.array(told) == pytest.approx(np.array(true))
    assert np.array(commons) == pytest.approx(np.array(means))


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
