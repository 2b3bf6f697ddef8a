"""What a panel says is what the formula of :mod:`gateway.routing.model` says, however it is reckoned."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from gateway.routing import default
from gateway.routing.arithmetic import FOREIGN, logit, sigmoid, softmax
from gateway.routing.features import WORDS, Features
from gateway.routing.model import COARSER, Model
from gateway.routing.panel import Panel, experts_of, known_of, layout
from gateway.routing.products import Products
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


@pytest.mark.parametrize("steeper", [1, 500], ids=["as it is", "with scores beyond every bound"])
def test_loops_and_products_say_the_same(steeper: int) -> None:
    shipped = default.load()
    model = replace(shipped, steps=shipped.steps * steeper)
    names = [*(name for name in NAMES if name in model.models), "small", "frontier"]
    experts, own = experts_of(model, names)
    known = [known_of(model, name) for name in names]
    loops, products = Summing(layout(model, experts, own, known)), Products(model, experts, own, known)
    for prompt in ["", *prompts()[:40]]:
        one, other = loops(prompt), products(prompt)
        assert one.task == other.task
        assert one.familiar == pytest.approx(other.familiar, rel=1e-9)
        for found, expected in zip(one.qualities, other.qualities, strict=True):
            assert found.probability == pytest.approx(expected.probability, rel=1e-9)
            assert found.error == pytest.approx(expected.error, rel=1e-9)
            assert found.tokens == pytest.approx(expected.tokens, rel=1e-9)
