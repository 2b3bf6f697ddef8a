"""What a router was worth, told from logs of which the truth is known."""

from __future__ import annotations

import random

import pytest

from gateway.contract.learned_routes import Estimate
from gateway.routing.online_report import Logged, report

STRONG, CHEAP = "a/strong", "b/cheap"


def logs(count: int, *, knowing: bool, share: float = 1.0, explored: float = 0.2, seed: int = 1) -> list[Logged]:
    """Half of the prompts are easy: there both answer well. A knowing router gives these to the cheap target; else the
    same choices are made at random, and expectations tell nothing."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        easy = draw.random() < 0.5
        true = {STRONG: 0.9, CHEAP: 0.9 if easy else 0.2}
        best = CHEAP if (easy if knowing else draw.random() < 0.5) else STRONG
        chance = {name: explored / 2 + (1 - explored) * (name == best) for name in true}
        target = draw.choice([STRONG, CHEAP]) if draw.random() < explored else best
        expected = true if knowing else {STRONG: 0.9, CHEAP: 0.55}
        estimates = tuple(
            Estimate(name, expected[name], 1_000_000 if name == STRONG else 100_000, 2.0, chance[name]) for name in true
        )
        quality = float(draw.random() < true[target]) if draw.random() < share else None
        cost = (1_000_000 if target == STRONG else 100_000) * draw.uniform(0.9, 1.1)
        found.append(Logged(target, chance[target], estimates, quality, cost, 2.0))
    return found


def test_a_knowing_router_is_told_from_one_that_mixes() -> None:
    knowing = report(logs(3_000, knowing=True), [STRONG]).claims[0]
    mixing = report(logs(3_000, knowing=False), [STRONG]).claims[0]
    for claim in (knowing, mixing):
        assert claim.is_enough
        # Half of the prompts for a tenth of the price; the shuffled control saves the same.
        assert claim.saved.value == pytest.approx(0.45, abs=0.04)
        assert claim.shuffled_saved.value == pytest.approx(0.45, abs=0.04)
    assert knowing.known.low > 0.05
    assert "better than the same choices handed out at random" in knowing.verdict
    assert mixing.known.low < 0 < mixing.known.high
    assert "may be those of mixing" in mixing.verdict
    assert mixing.quality.high < 0
    assert "at a lower quality" in mixing.verdict


def test_values_are_near_the_truth_within_their_intervals() -> None:
    made = report(logs(4_000, knowing=True))
    values = {each.name: each for each in made.policies}
    assert list(values) == ["router", "shuffled", STRONG, CHEAP]
    for name, quality, cost in ((STRONG, 0.9, 1_000_000), (CHEAP, 0.55, 100_000)):
        value = values[name]
        assert value.quality is not None
        assert value.cost_nanos is not None
        assert value.quality.low <= quality <= value.quality.high
        assert value.quality_seen == pytest.approx(quality, abs=0.06)
        assert value.cost_nanos.value == pytest.approx(cost, rel=0.05)
        assert value.effective < value.told
    router = values["router"].quality
    assert router is not None
    assert router.low <= 0.9 * 0.9 + 0.1 * (0.9 + 0.55) / 2 + 0.05


def test_wrong_expectations_are_made_good_by_what_was_found() -> None:
    wrong = [
        Logged(
            each.target, each.propensity,
            tuple(Estimate(one.target, 0.99, one.cost_nanos, 2.0, one.propensity) for one in each.estimates),
            each.quality, each.cost_nanos, each.seconds,
        )
        for each in logs(4_000, knowing=True)
    ]  # fmt: skip
    cheap = next(each for each in report(wrong).policies if each.name == CHEAP)
    assert cheap.quality is not None
    assert cheap.quality.low <= 0.55 <= cheap.quality.high


@pytest.mark.parametrize(("count", "share", "explored"), [(50, 1.0, 0.2), (3_000, 0.01, 0.2), (200, 1.0, 0.001)])
def test_of_too_few_data_nothing_is_claimed(count: int, share: float, explored: float) -> None:
    logged = logs(count, knowing=True, share=share, explored=explored)
    if explored == 0.001:  # the target compared with was hardly ever taken
        logged = [each for each in logged if each.target == CHEAP]
    claim = report(logged, [STRONG]).claims[0]
    assert not claim.is_enough
    assert claim.verdict.startswith("Too few data")


def test_no_decision_and_no_such_target() -> None:
    assert report([]).policies == ()
    with pytest.raises(ValueError, match="z/unknown: no candidate of any decision; there are a/strong, b/cheap"):
        report(logs(10, knowing=True), ["z/unknown"])


def test_what_answered_may_be_no_candidate() -> None:
    logged = [Logged("z/fallback", 1.0, each.estimates, 1.0, 5.0, 1.0) for each in logs(200, knowing=True)]
    claim = report(logged, [STRONG]).claims[0]
    assert not claim.is_enough


def test_the_same_logs_give_the_same_report() -> None:
    logged = logs(300, knowing=True)
    assert report(logged) == report(logged)
