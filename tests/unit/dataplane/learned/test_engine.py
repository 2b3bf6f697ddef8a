"""Targets become candidates with what is known of them, and decisions tell truly what was expected."""

from __future__ import annotations

import asyncio
import math

import pytest

from gateway.contract.learned_routes import LearnedRoutes, Shift, Timing
from gateway.dataplane.learned import engine
from gateway.dataplane.learned.engine import Offered, load
from gateway.dataplane.learned.exploring import drawn
from gateway.dataplane.learned.question import Question
from gateway.dataplane.learned.taught import Lessons
from gateway.dataplane.pricing import Rate, rate_of
from gateway.dataplane.routing import Router, router_from
from gateway.dataplane.target import Target
from gateway.dataplane.upstream.pool import Pool
from gateway.dataplane.upstream.resolver import Resolver
from gateway.kernel.errors import GatewayError
from gateway.routing.model import Model
from gateway.routing.request import Ask, Constraints, OptimizeFor
from gateway.settings.model import Model as ModelSettings
from gateway.settings.model import Price, Provider, Settings, Weighing
from gateway.settings.model import Target as TargetSettings
from gateway.settings.pricing import PriceTier

CHEAP, STRONG, OTHER = "mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview", "made-up"
PRICES = {CHEAP: (0.0002, 0.0002), STRONG: (0.01, 0.03), OTHER: (0.001, 0.002)}
EASY = "What is 12*7?"
NO_DRAW = Weighing(exploration=0.0)


@pytest.fixture(scope="module")
def model() -> Model:
    return load(None)


def router(*priced: str) -> Router:
    """The three targets, each at a provider of its name's first letter; those named have a price."""
    loop = asyncio.get_running_loop()
    providers = tuple(Provider(name=name[0], base_url="http://a.test/v1") for name in PRICES)
    pools = {each.name: Pool(each, each.base_url or "", loop, Resolver(loop)) for each in providers}
    named = tuple(TargetSettings(provider=name[0], model=name) for name in PRICES)
    pricing = tuple(
        Price(provider=name[0], model=name, input_per_1k=PRICES[name][0], output_per_1k=PRICES[name][1])
        for name in priced
    )
    models = (ModelSettings(name="m", targets=named),)
    return router_from(Settings(providers=providers, models=models, pricing=pricing), pools)


def targets(*priced: str) -> tuple[Target, ...]:
    return router(*(priced or PRICES)).routes["m"].targets


def question(
    goal: OptimizeFor = "balanced",
    lessons: Lessons | None = None,
    weighing: Weighing = NO_DRAW,
    id: str = "req_1",
    places: tuple[int, ...] = (0, 1, 2),
    resting: tuple[int, ...] = (),
    max_cost: float | None = None,
) -> Question:
    ask = Ask(prompt=EASY, optimize_for=goal, constraints=Constraints(max_cost=max_cost), prompt_tokens=10)
    return Question(id, ask, weighing, lessons or Lessons(), places, resting)


def taught(**told: object) -> Lessons:
    lessons = Lessons()
    shifts: tuple[Shift, ...] = told.get("shifts", ())  # type: ignore[assignment]
    timings: tuple[Timing, ...] = told.get("timings", ())  # type: ignore[assignment]
    fixed: str | None = told.get("fixed")  # type: ignore[assignment]
    doubt: float = told.get("doubt", 0.0)  # type: ignore[assignment]
    lessons.take(LearnedRoutes(1, "o", shifts, timings, fixed, doubt))
    return lessons


def name(model: str) -> str:
    return f"{model[0]}/{model}"


async def test_a_decision_has_the_order_and_the_estimates_of_its_ranking(model: Model) -> None:
    offered = Offered(model, targets())
    chosen = offered.choose(question("cost"))
    assert [target.name for target in chosen.order] == [one.target for one in chosen.told.estimates]
    assert chosen.told.chosen == chosen.order[0].name == name(CHEAP)
    assert [one.propensity for one in chosen.told.estimates] == [1.0, 0.0, 0.0]
    assert offered.choose(question("quality")).told.chosen != name(OTHER)


async def test_a_new_price_counts_at_once(model: Model) -> None:
    them = targets()
    offered = Offered(model, them)
    before = {one.target: one for one in offered.choose(question()).told.estimates}
    them[0].rate = Rate(0, 0, 0)
    after = {one.target: one for one in offered.choose(question()).told.estimates}
    assert before[name(CHEAP)].cost_nanos > 0
    assert after[name(CHEAP)].cost_nanos == 0
    assert after[name(STRONG)] == before[name(STRONG)]


async def test_a_schedule_is_a_price_per_token_too(model: Model) -> None:
    them = targets()
    offered = Offered(model, them)
    plain = {one.target: one.cost_nanos for one in offered.choose(question()).told.estimates}
    price = Price(
        provider="g", model=STRONG, input_per_1k=0.01, output_per_1k=0.03, per_request=1.0, effective_from="2020-01-01"
    )
    them[1].rate = rate_of(price)
    found = {one.target: one.cost_nanos for one in offered.choose(question()).told.estimates}
    assert found[name(STRONG)] == pytest.approx(plain[name(STRONG)], rel=1e-6)


async def test_a_long_prompt_costs_what_its_size_does(model: Model) -> None:
    first, second, third = targets()
    tiers = (
        PriceTier(above_prompt_tokens=1_000, input_per_1k=0.002, cached_input_per_1k=0.001, output_per_1k=0.02),
        PriceTier(above_prompt_tokens=1_001, input_per_1k=0.2, output_per_1k=0.2),
    )
    third.rate = rate_of(Price(provider="m", model=OTHER, input_per_1k=0.001, output_per_1k=0.01, tiers=tiers))
    offered = Offered(model, (first, second, third))
    for tokens, (by_prompt, by_answer) in {
        10: (0.001, 0.01), 1_000: (0.001, 0.01), 1_001: (0.002, 0.02), 1_002: (0.2, 0.2), 90_000: (0.2, 0.2),
    }.items():  # fmt: skip
        asked = question()
        asked.ask.prompt_tokens = tokens
        chosen = offered.choose(asked)
        found = {each.name: each for each in chosen.ranked}
        tiered, plain = found[name(OTHER)], found[name(CHEAP)]
        assert tiered.cost == pytest.approx((tokens * by_prompt + tiered.tokens * by_answer) / 1e3, rel=1e-6)
        assert plain.cost == pytest.approx((tokens + plain.tokens) * 0.0002 / 1e3, rel=1e-6)


async def test_who_has_no_price_counts_as_the_dearest_and_fails_every_bound(model: Model) -> None:
    offered = Offered(model, targets(CHEAP, STRONG))
    costs = {one.target: one.cost_nanos / one.tokens for one in offered.choose(question()).told.estimates}
    assert costs[name(OTHER)] == pytest.approx(costs[name(STRONG)], rel=0.1)
    bounded = offered.choose(question(max_cost=1000.0))
    assert name(OTHER) not in [one.target for one in bounded.told.estimates]
    with pytest.raises(GatewayError, match="no price is known"):
        Offered(model, targets(CHEAP)[2:]).choose(question(places=(0,), max_cost=1000.0))


async def test_what_was_said_of_a_prompt_is_kept_for_its_organization(model: Model) -> None:
    offered = Offered(model, targets())
    first = offered._view("a", EASY)
    assert offered._view("a", EASY) is first
    other = offered._view("b", EASY)
    assert other is not first
    assert (other.task, other.familiar, other.qualities) == (first.task, first.familiar, first.qualities)
    for number in range(engine.MOST):
        offered._view("a", f"{EASY} {number}")
    again = offered._view("a", EASY)
    assert again is not first, "the oldest made room"
    assert (again.task, again.familiar, again.qualities) == (first.task, first.familiar, first.qualities)
    assert len(offered._views) == engine.MOST
    long = "x" * (engine.LONGEST + 1)
    assert offered._view("a", long) is not offered._view("a", long), "a long one is never kept"
    offered.targets[0].rate, offered.targets[2].rate = (
        None,
        rate_of(Price(provider="m", model=OTHER, output_per_1k=1.0)),
    )
    offered.choose(question())
    assert offered._view("a", EASY) is not again, "another tier is another panel"


async def test_shifts_move_the_quality_of_their_organization_alone(model: Model) -> None:
    offered = Offered(model, targets())
    plain = {one.target: one for one in offered.choose(question("quality")).told.estimates}
    lessons = taught(shifts=(Shift(name(OTHER), 4.0, 50.0),))
    moved = {one.target: one for one in offered.choose(question("quality", lessons)).told.estimates}
    before, after = plain[name(OTHER)].quality, moved[name(OTHER)].quality
    assert math.log(after / (1 - after)) - math.log(before / (1 - before)) == pytest.approx(4.0, abs=1e-3)
    assert (moved[name(OTHER)].shift, plain[name(OTHER)].shift) == (4.0, 0.0)
    assert offered.choose(question("quality", lessons)).told.chosen == name(OTHER)
    assert moved[name(STRONG)] == plain[name(STRONG)]
    assert {one.target: one for one in offered.choose(question("quality")).told.estimates} == plain


async def test_a_target_in_doubt_is_tried_where_exploring_is_allowed(model: Model) -> None:
    offered = Offered(model, targets())
    first, second, third = (one.target for one in offered.choose(question("quality")).told.estimates)
    lessons = taught(shifts=(Shift(first, 0.0, 900.0, doubt=0.01), Shift(third, 0.0, 900.0, doubt=0.01)), doubt=4.0)
    free = Weighing(exploration=0.02, margin=0.9)
    ids = [f"req_{number}" for number in range(60)]
    quiet = next(id for id in ids if drawn(id) >= 0.02)
    told = offered.choose(question("quality", lessons, free, quiet)).told
    assert (told.chosen, told.explored, told.fixed) == (second, True, False)
    # Of all probabilities, those of what is expected to be best too, the sum is 1 and what was drawn from is told.
    chances = {one.target: one.propensity for one in told.estimates}
    assert chances[second] == pytest.approx(0.98 + 0.02 / len([each for each in chances.values() if each]))
    assert sum(chances.values()) == pytest.approx(1.0)
    assert offered.choose(question("quality", lessons, NO_DRAW, quiet)).told.chosen == first
    near = Weighing(exploration=0.02, margin=0.0)
    assert offered.choose(question("quality", lessons, near, quiet)).told.chosen == first
    shifts = (Shift(first, 0.0, 900.0, doubt=0.01),)
    for fixed, chosen in ((first, second), (third, third)):  # what differs from what was learnt stands
        told = offered.choose(question("quality", taught(shifts=shifts, doubt=4.0, fixed=fixed), free, quiet)).told
        assert (told.chosen, told.fixed) == (chosen, chosen == fixed)


async def test_observations_make_a_quality_surer(model: Model) -> None:
    offered = Offered(model, targets())
    few = offered.choose(question(lessons=taught(shifts=(Shift(name(OTHER), 0.1, 1.0),)))).ranked
    many = offered.choose(question(lessons=taught(shifts=(Shift(name(OTHER), 0.1, 5_000.0),)))).ranked
    errors = [next(one.error for one in ranked if one.name == name(OTHER)) for ranked in (few, many)]
    assert errors[1] < 0.01 < errors[0]


async def test_told_times_hold_until_enough_was_seen_here(model: Model) -> None:
    them = targets()
    offered = Offered(model, them)
    lessons = taught(timings=(Timing(name(OTHER), 5.0, 0.5, 1.5, 1.0, 20.0),))
    slow = {one.target: one.seconds for one in offered.choose(question(lessons=lessons)).told.estimates}
    assert slow[name(OTHER)] > 50.0
    seen = them[2].seen
    assert seen is not None
    for _ in range(30):
        seen.answered(0.2, 20, 0.1)
    quick = {one.target: one.seconds for one in offered.choose(question(lessons=lessons)).told.estimates}
    assert quick[name(OTHER)] < 5.0


async def test_the_fixed_choice_goes_first_where_it_meets_the_constraints(model: Model) -> None:
    offered = Offered(model, targets())
    lessons = taught(fixed=name(OTHER))
    told = offered.choose(question("cost", lessons)).told
    assert (told.chosen, told.fixed, told.explored) == (name(OTHER), True, False)
    assert told.estimates[0].propensity == 1.0
    excluded = question("cost", lessons)
    excluded.ask = Ask(prompt=EASY, optimize_for="cost", constraints=Constraints(exclude_providers=frozenset({"m"})))
    told = offered.choose(excluded).told
    assert (told.chosen, told.fixed) == (name(STRONG), False), "both others are at the provider m"


async def test_an_explored_choice_says_so_and_has_its_own_probability(model: Model) -> None:
    offered = Offered(model, targets())
    drawing = Weighing(exploration=0.5, margin=1.0)
    found = [offered.choose(question(weighing=drawing, id=f"req_{number}")).told for number in range(200)]
    explored = [told for told in found if told.explored]
    assert 30 < len(explored) < 110
    best = next(told for told in found if not told.explored)
    for told in found:
        chances = {one.target: one.propensity for one in told.estimates}
        assert math.isclose(sum(chances.values()), 1.0)
        assert chances[best.chosen] == pytest.approx(2 / 3)
        assert told.chosen == told.estimates[0].target
        assert told.explored == (told.chosen != best.chosen)
        assert told.confidence <= 0.5 or not told.explored


async def test_who_rests_comes_last_and_is_all_there_is_where_no_other_will_do(model: Model) -> None:
    offered = Offered(model, targets())
    first = offered.choose(question("cost"))
    place = offered.targets.index(first.order[0])
    others = tuple(at for at in range(3) if at != place)
    chosen = offered.choose(question("cost", places=others, resting=(place,)))
    assert chosen.order[-1] is first.order[0]
    assert [one.target for one in chosen.told.estimates] == [target.name for target in chosen.order[:-1]]
    assert offered.choose(question("cost", places=(), resting=(0, 1, 2))).told.chosen == first.told.chosen
    limit = first.told.estimates[0].cost_nanos / 1e9
    alone = offered.choose(question("cost", places=others, resting=(place,), max_cost=limit))
    assert alone.order == first.order[:1], "no other is cheap enough"
    with pytest.raises(GatewayError, match="max_cost"):
        offered.choose(question("cost", places=others, max_cost=limit))
