"""What a panel says is what the formula of :mod:`gateway.routing.model` says, however it is reckoned."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.routing import default
from gateway.routing.arithmetic import FOREIGN, logit, sigmoid, softmax
from gateway.routing.features import HEAD, TAIL, WORDS, Features, raw_of
from gateway.routing.model import COARSER, TIERS, Model
from gateway.routing.panel import Panel, experts_of, known_of, summing
from gateway.routing.products import Products
from tests.support import written_in_c

if TYPE_CHECKING:
    from gateway.routing.summing import Summing

PROMPTS = 1_000
PIECES = [
    *(
        "the",
        "of",
        "integer",
        "prove",
        "court",
        "patient",
        "function",
        "return",
        "$x^2$",
        "42",
        "3.14",
        "(a)",
        "ü",
        "日本",
    ),
    *("日本", "Write!", "_foo_", "{}[]", "energy"),
    "\n",
]
NAMES = ("gpt-4o-2024-08-06", "mixtral-8x7b-instruct-v0.1", "gemini-1.5-flash", "llama-3.1-8b-instruct")


def prompts() -> list[str]:
    """Of no word to thousands, the same in every run."""
    drawn = random.Random(7)
    sizes = (0, 1, 3, 30, 80, 200)
    return [
        "".join(drawn.choice(PIECES) + drawn.choice((" ", "", ", ")) for _ in range(drawn.choice(sizes)))
        for _ in range(PROMPTS)
    ]


def expected(model: Model, features: Features, prompt: str, name: str) -> float:
    """The probability of a good answer, by 64-bit numbers and nothing prepared."""
    numbers = features(prompt)
    rows = model.table[numbers].astype(np.float64)
    rows[numbers >= WORDS] *= COARSER
    scores = rows.sum(0) / math.sqrt(len(numbers)) * model.steps + model.intercepts
    sets, tasks = len(model.sets), len(model.tasks)
    gates = np.maximum(softmax(scores[:sets]), 1e-6)
    powers = np.exp(np.clip(scores[sets : sets + tasks], -60.0, 60.0))
    powers /= np.array([powers[model.home == home].sum() for home in range(sets)])[model.home]
    place = model.models.index(name)
    weight = FOREIGN
    total = FOREIGN * float((powers * gates[model.home]) @ model.likely[:, place])
    for expert in np.flatnonzero(model.expert_model == place):
        gate = gates[model.expert_set[expert]]
        head = scores[sets + tasks + expert] + model.trust[expert] * logit(powers @ model.rate[:, expert])
        total += gate * float(sigmoid(head))
        weight += gate
    return float(total / weight)


def test_a_panel_says_what_the_formula_says() -> None:
    model, features = default.load(), Features()
    names = [name for name in NAMES if name in model.models]
    assert len(names) > 1
    panel = Panel(model, names)
    for prompt in prompts():
        found = [each.probability for each in panel(prompt).qualities]
        assert found == pytest.approx([expected(model, features, prompt, name) for name in names], abs=1e-6)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> type[Summing]:
    """What is written in C."""
    module = written_in_c.built("gateway/routing/summing.c", tmp_path_factory.mktemp("compiled"))
    made: type[Summing] = module.Summing
    return made


class Both:
    """A panel of some names in both of its ways."""

    def __init__(self, compiled: type[Summing], model: Model, names: Sequence[str]) -> None:
        experts, own = experts_of(model, names)
        known = [known_of(model, name) for name in names]
        self._tasks = [model.tasks[task] for task in np.argsort(model.home, kind="stable").tolist()]
        self._summing = summing(compiled, model, experts, own, known)
        self._products = Products(model, experts, own, known)

    def say_the_same(self, prompt: str) -> None:
        told, expected = self._summing.read(raw_of(prompt), len(prompt)), self._products(prompt)
        assert self._tasks[int(told[0])] == expected.task
        assert told[1] == pytest.approx(expected.familiar, rel=1e-9)
        assert told[2:] == pytest.approx(
            [number for one in expected.qualities for number in (one.probability, one.error, one.tokens)], rel=1e-9
        )


def both(compiled: type[Summing], names: Sequence[str] = (*NAMES, "small", "frontier"), steeper: int = 1) -> Both:
    model = default.load()
    kept = [name for name in names if name in model.models or name in TIERS]
    return Both(compiled, replace(model, steps=model.steps * steeper), kept)


@pytest.fixture(scope="module")
def usual(compiled: type[Summing]) -> Both:
    """Of some models and tiers."""
    return both(compiled)


@pytest.mark.parametrize("steeper", [1, 500], ids=["as it is", "with scores beyond every bound"])
def test_c_and_products_say_the_same(compiled: type[Summing], steeper: int) -> None:
    panel = both(compiled, steeper=steeper)
    for prompt in ["", *prompts()[:200]]:
        panel.say_the_same(prompt)


def test_c_and_products_say_the_same_of_every_number_of_names(compiled: type[Summing]) -> None:
    models = default.load().models
    for names in [("small",), models[:1], models[:7], models[:8], models[:9], models]:
        panel = both(compiled, names)
        for prompt in prompts()[:5]:
            panel.say_the_same(prompt)


@given(prompt=st.text(st.characters(exclude_categories=())))
@example(prompt=" \n\t")
@example(prompt="\ud800")
@example(prompt="\x00" * 50)
@example(prompt="." * (HEAD + TAIL))
@example(prompt="😀" * (HEAD + TAIL))
@example(prompt="a" * (HEAD + TAIL + 1))
@example(prompt="".join(map(chr, range(HEAD + TAIL))))
def test_c_and_products_say_the_same_of_any_text(usual: Both, prompt: str) -> None:
    usual.say_the_same(prompt)


def test_c_refuses_what_is_no_prompt(compiled: type[Summing]) -> None:
    model = default.load()
    experts, own = experts_of(model, ["small"])
    made = summing(compiled, model, experts, own, [known_of(model, "small")])
    assert made.read(b"." * 12_289, 3_072)
    wrong: list[tuple[Any, ...]] = [(), (b"",), (b"", 0, 0), ("", 0), (bytearray(), 0), (b"", "0"), (b"", None)]
    for arguments in wrong:
        with pytest.raises(TypeError):
            made.read(*arguments)
    for raw, characters in ((b"." * 12_290, 0), (b"", -1)):
        with pytest.raises(ValueError, match="at most 12289 bytes"):
            made.read(raw, characters)
    with pytest.raises(OverflowError):
        made.read(b"", 1 << 64)


WRONG: dict[str, dict[str, Any]] = {
    "a table too small": {"table": b""},
    "no byte's value": {"values": b""},
    "a kind too few": {"kinds": bytes(255)},
    "an unknown kind": {"kinds": bytes([3] * 256)},
    "an unknown class": {"classes": bytes([19] * 256)},
    "an unknown step": {"sizes": bytes([16] * 4_097)},
    "steps too few": {"steps": b""},
    "intercepts too few": {"intercepts": b""},
    "ends beyond the tasks": {"ends": np.array([1, 2, 1_000])},
    "ends that go back": {"ends": np.array([2, 1, 83])},
    "ends before the last task": {"ends": np.array([1, 2, 3])},
    "a blend too small": {"blend": b""},
    "an expert of nobody": {"owners": np.array([[1, 0, 0]]), "trusts": np.zeros(1)},
    "an owner too few": {"trusts": np.zeros(1)},
    "no sets": {"sets": 0},
    "no tasks": {"tasks": 0},
    "no names": {"names": 0},
    "as many names as overflow": {"names": 1 << 62},
    "as many tasks as overflow": {"tasks": 1 << 62},
    "less than no row": {"row": -32},
    "a row of part of 32 bytes": {"row": 90},
    "a row too short": {"row": 64},
}


@pytest.mark.parametrize("changed", WRONG.values(), ids=WRONG)
def test_c_refuses_numbers_that_do_not_fit_together(compiled: type[Summing], changed: dict[str, Any]) -> None:
    model = default.load()

    def made(**given: Any) -> Summing:
        return compiled(**{**given, **changed})

    with pytest.raises(ValueError, match="expected"):
        summing(made, model, *experts_of(model, ["small"]), [known_of(model, "small")])


def test_c_refuses_an_expert_beyond_what_there_is(compiled: type[Summing]) -> None:
    model = default.load()
    name = model.models[0]
    experts, own = experts_of(model, [name])
    for place in range(3):

        def made(*, at: int = place, **given: Any) -> Summing:
            given["owners"][0, at] = 1_000
            return compiled(**given)

        with pytest.raises(ValueError, match="within bounds"):
            summing(made, model, experts, own, [known_of(model, name)])
