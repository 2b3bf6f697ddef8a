"""Made-up outcomes whose truth is known: which model answers which task well."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet as parquet

from gateway.routing.model import Model
from gateway.routing.training.run import Trained, train

TASKS = {
    "poetry": "verse rhyme sonnet moon heart rose stanza metaphor autumn sorrow",
    "algebra": "solve equation x y integer $x^2$ root polynomial 12 35 factor",
    "law": "court plaintiff defendant statute appeal negligence contract damages clause tort",
}
GOOD = {
    "strong": {"poetry": 0.9, "algebra": 0.9, "law": 0.9},
    "weak": {"poetry": 0.88, "algebra": 0.2, "law": 0.6},
    "middling": {"poetry": 0.5, "algebra": 0.5, "law": 0.5},
}
PRICES = {"strong": 10.0, "middling": 1.0, "weak": 0.5}


def rows(count: int, seed: int, tasks: dict[str, str] | None = None) -> list[dict[str, object]]:
    """``count`` prompts by all models, as in a file of outcomes."""
    generator = random.Random(seed)
    found: list[dict[str, object]] = []
    for number in range(count):
        task, words = generator.choice(list((tasks or TASKS).items()))
        prompt = " ".join(generator.choices(words.split(), k=12)) + f" number {seed} {number}"
        for model, rates in GOOD.items():
            found.append(
                {
                    "prompt_id": f"p{seed}-{number}",
                    "prompt": prompt,
                    "task": task,
                    "model": model,
                    "score": float(generator.random() < rates[task]),
                    "out_chars": float(generator.randint(200, 400)),
                    "cost_usd": PRICES[model] / 1e6,
                }
            )
    return found


def write(path: Path, given: list[dict[str, object]]) -> Path:
    """A file of outcomes."""
    parquet.write_table(arrow.Table.from_pylist(given), path)
    return path


def folder(path: Path) -> Path:
    """Two sets, one of them in two parts."""
    write(path / "made.train.parquet", rows(600, 1))
    write(path / "made.dev.parquet", rows(200, 2))
    write(path / "other.train.parquet", rows(200, 3, {"poetry": TASKS["poetry"], "law": TASKS["law"]}))
    listed = {model: {"in": price, "out": 3 * price} for model, price in PRICES.items()}
    (path / "prices.json").write_text(json.dumps(listed))
    return path


@cache
def trained(path: Path) -> Trained:
    """The router of a folder; made once a run."""
    return train(path, lambda text: None)


def model(path: Path) -> Model:
    """Its model."""
    return trained(path).model
