from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.kernel.errors import GatewayError, Kind
from gateway.routing.candidates import BOUND, WORTH, Candidate
from gateway.routing.costs import cost_of
from gateway.routing.decision import decide
from gateway.routing.model import Model
from gateway.routing.panel import Panel
from gateway.routing.request import Ask, Constraints

POEM = "moon heart rose sonnet stanza metaphor autumn"
SUM = "solve equation x y integer polynomial factor root 12"
NAMES = ("strong", "weak", "middling")
OFFERED = (
    Candidate(
        name="a/strong", provider="a", learned="strong", input_price=10.0, output_price=30.0, first_token=1.0,
        per_token=0.03, context_length=8_000, capabilities=frozenset({"tools", "vision"}),
    ),
    Candidate(
        name="b/weak", provider="b", learned="weak", input_price=0.5, output_price=0.5, first_token=0.3,
        per_token=0.01, context_length=4_000, capabilities=frozenset({"tools"}),
    ),
    Candidate(
        name="b/middling", provider="b", learned="middling", input_price=1.0, output_price=1.0, first_token=0.1,
        per_token=0.001, context_length=128_000,
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def panel(model: Model) -> Panel:
    return Panel(model, NAMES)


def refused(panel: Panel, ask: Ask, offered: tuple[Candidate, ...] = OFFERED) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        decide(panel, offered, ask)
    return caught.value


def test_each_prompt_goes_to_the_cheapest_that_answers_it_well(panel: Panel) -> None:
    assert decide(panel, OFFERED, Ask(prompt=POEM)).chosen.name == "b/weak"
    assert decide(panel, OFFERED, Ask(prompt=SUM)).chosen.name == "a/strong"


def test_what_is_optimised_for_decides(panel: Panel) -> None:
    chosen = {aim: decide(panel, OFFERED, Ask(prompt=POEM, optimize_for=aim)).chosen for aim in WORTH}
    assert chosen["quality"].name == "a/strong"
    assert chosen["speed"].seconds < chosen["quality"].seconds
    assert chosen["cost"].cost < chosen["quality"].cost
    instant = tuple(each.replaced(first_token=0.0, per_token=0.0) for each in OFFERED)
    assert decide(panel, instant, Ask(prompt=POEM, optimize_for="speed")).chosen.name == "a/strong"


def test_a_decision_tells_what_it_rests_on(panel: Panel) -> None:
    ask = Ask(prompt=SUM, constraints=Constraints(exclude_providers=frozenset({"a"})), max_tokens=10)
    decision = decide(panel, OFFERED, ask)
    assert decision.task == "algebra"
    assert decision.refused == (("a/strong", "exclude_providers"),)
    ranked = (decision.chosen, *decision.alternatives)
    assert [each.utility for each in ranked] == sorted((each.utility for each in ranked), reverse=True)
    assert 0.5 <= decision.confidence <= 1.0
    for each in ranked:
        candidate = next(one for one in OFFERED if one.name == each.name)
        assert each.tokens == 10
        assert each.cost == pytest.approx(cost_of(candidate, len(SUM) // 4, 0, 10))
        assert each.seconds == pytest.approx(candidate.first_token + 10 * candidate.per_token)
        assert each.slow == pytest.approx(each.seconds * candidate.spread)
        assert each.lower == pytest.approx(max(each.quality - BOUND * each.error, 0))


def test_where_one_is_left_it_is_sure(panel: Panel) -> None:
    decision = decide(panel, OFFERED, Ask(prompt=SUM, needs=frozenset({"vision"})))
    assert (decision.chosen.name, decision.confidence, decision.alternatives) == ("a/strong", 1.0, ())


def test_cached_tokens_have_their_own_price() -> None:
    cheap = OFFERED[0].replaced(cached_price=1.0)
    assert cost_of(cheap, 1_000_000, 400_000, 0) == pytest.approx(6.4)
    assert cost_of(OFFERED[0], 1_000_000, 400_000, 1_000_000) == pytest.approx(40.0)


@pytest.mark.parametrize(
    ("ask", "constraint", "told"),
    [
        (Ask(prompt=SUM, constraints=Constraints(max_cost=1e-9)), "max_cost", "b/weak, the nearest, is expected"),
        (Ask(prompt=SUM, constraints=Constraints(max_response_time=0.1)), "max_response_time", "b/middling, the near"),
        (Ask(prompt=SUM, constraints=Constraints(min_quality=0.999)), "min_quality", "a/strong, the nearest, reaches"),
        (Ask(prompt=SUM, needs=frozenset({"audio"})), "capabilities", "the nearest, lacks audio"),
        (Ask(prompt=SUM, prompt_tokens=900_000), "context_length", "b/middling, the nearest, takes 128000"),
        (
            Ask(prompt=SUM, constraints=Constraints(preferred_providers=frozenset({"z"}))),
            "preferred_providers",
            "z preferred; there are targets of a, b",
        ),
        (
            Ask(prompt=SUM, constraints=Constraints(exclude_providers=frozenset({"a", "b"}))),
            "exclude_providers",
            "every target is of a, b",
        ),
    ],
)
def test_the_constraint_that_leaves_none_is_named_with_the_nearest(
    panel: Panel, ask: Ask, constraint: str, told: str
) -> None:
    error = refused(panel, ask)
    assert (error.kind, error.code) == (Kind.INVALID, f"no_candidate_{constraint}")
    assert error.field == f"constraints.{constraint}"
    assert told in error.message


def test_what_the_caller_can_not_change_is_told_as_such(panel: Panel) -> None:
    resting = tuple(each.replaced(resting=True) for each in OFFERED)
    assert refused(panel, Ask(prompt=SUM), resting).kind is Kind.UNAVAILABLE
    forbidden = tuple(each.replaced(allowed=False) for each in OFFERED)
    assert refused(panel, Ask(prompt=SUM), forbidden).kind is Kind.FORBIDDEN


def test_the_last_constraint_is_the_one_named(panel: Panel) -> None:
    # a is excluded; of what is left, nothing is good enough.
    limits = Constraints(exclude_providers=frozenset({"a"}), min_quality=0.95)
    error = refused(panel, Ask(prompt=SUM, constraints=limits))
    assert error.code == "no_candidate_min_quality"
    assert "a/strong" not in error.message


def test_the_nearest_would_pass(panel: Panel) -> None:
    error = refused(panel, Ask(prompt=SUM, constraints=Constraints(max_cost=1e-9)))
    least = float(error.message.rsplit("$", 1)[1].rstrip(".")) + 1e-6
    assert decide(panel, OFFERED, Ask(prompt=SUM, constraints=Constraints(max_cost=least))).chosen.name == "b/weak"


def test_the_lower_bound_is_what_is_held_against_the_quality_asked_for(panel: Panel) -> None:
    best = decide(panel, OFFERED, Ask(prompt=SUM, optimize_for="quality")).chosen
    between = (best.lower + best.quality) / 2
    assert refused(panel, Ask(prompt=SUM, constraints=Constraints(min_quality=between))).code.endswith("min_quality")
    assert decide(panel, OFFERED, Ask(prompt=SUM, constraints=Constraints(min_quality=best.lower - 1e-6)))


def test_candidates_of_another_panel_are_refused(panel: Panel) -> None:
    with pytest.raises(ValueError, match="expected a candidate for each of strong, weak, middling; there are 2"):
        decide(panel, OFFERED[:2], Ask(prompt=SUM))


MAYBE = st.one_of(st.none(), st.floats(0, 10))


@given(
    cost=st.one_of(st.none(), st.floats(0, 0.01)),
    quality=st.one_of(st.none(), st.floats(0, 1)),
    seconds=MAYBE,
    excluded=st.sets(st.sampled_from(["a", "b"])),
    aim=st.sampled_from(list(WORTH)),
)
def test_what_is_chosen_meets_every_constraint_and_is_the_best_that_does(
    panel: Panel, cost: float | None, quality: float | None, seconds: float | None, excluded: set[str], aim: str
) -> None:
    limits, same = [
        Constraints(
            max_cost=cost, min_quality=quality, max_response_time=seconds, exclude_providers=frozenset(excluded)
        )
        for _ in range(2)
    ]
    ask = Ask(prompt=SUM, constraints=limits, optimize_for=aim)  # type: ignore[arg-type]
    before = same, tuple(each.replaced() for each in OFFERED)
    everyone = decide(panel, OFFERED, Ask(prompt=SUM))
    possible = {
        each.name
        for each in (everyone.chosen, *everyone.alternatives)
        if (cost is None or each.cost <= cost)
        and (seconds is None or each.slow <= seconds)
        and (quality is None or each.quality - BOUND * each.error >= quality)
        and each.name.split("/")[0] not in excluded
    }
    if not possible:
        assert refused(panel, ask).code.startswith("no_candidate_")
        return
    decision = decide(panel, OFFERED, ask)
    assert {decision.chosen.name, *(each.name for each in decision.alternatives)} == possible
    assert decision == decide(panel, OFFERED, ask)
    assert (ask.constraints, OFFERED) == before
